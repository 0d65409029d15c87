"""Measuring on a lent GPU: limits, a second call that goes on, small outputs alone."""

import json
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks import on_a_gpu
from benchmarks.on_a_gpu import Part, command, copy_small, installed, measure, parts, run_part
from experiments.running.pipeline import selectors


def part(name, code, limit=60):
    return Part(name, ["-c", code], limit)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder of outputs in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_part_ends_well_fails_or_is_stopped_at_its_limit(here, monkeypatch):
    assert run_part(part("good", "print(3)"), sys.executable, here, 60) == "done"
    assert (here / "good.txt").read_text(encoding="utf-8") == "3\n"
    assert run_part(part("bad", "raise SystemExit('why')"), sys.executable, here, 60) == "failed"
    assert (here / "bad.txt").read_text(encoding="utf-8") == "why\n"
    slow = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('put away'))\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    start = time.monotonic()
    assert run_part(part("slow", slow), sys.executable, here, 2) == "stopped"
    assert (here / "slow.txt").read_text(encoding="utf-8") == "ready\nput away\n"
    monkeypatch.setattr(on_a_gpu, "GRACE_SECONDS", 0.5)
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)"
    assert run_part(part("deaf", deaf), sys.executable, here, 2) == "stopped"
    assert time.monotonic() - start < 30


def test_a_second_call_goes_on_where_the_first_stopped(here, monkeypatch):
    count = "with open('{0}', 'a') as file: file.write('x')"
    fails_once = f"{count.format('b')}\nif open('b').read() == 'x': raise SystemExit(1)"
    planned = [part("a", count.format("a")), part("b", fails_once), part("c", count.format("c"))]
    monkeypatch.setattr(on_a_gpu, "parts", lambda cells, jobs: planned)
    assert measure(here, sys.executable, [], 1, time.monotonic() + 60) == {}  # too late to begin anything
    results = []
    for _ in range(2):
        state = measure(here, sys.executable, [], 1, time.monotonic() + 600)
        results.append([held["result"] for held in state.values()])
    assert results == [["done", "failed", "done"], ["done", "done", "done"]]
    assert [Path(name).read_text(encoding="utf-8") for name in "abc"] == ["x", "xx", "x"]
    assert json.loads((here / "state.json").read_text(encoding="utf-8")) == state


def test_what_comes_back_is_small_and_results_are_those_that_were_made_there(here):
    for name in (
        *("artifacts/train_vae/mnist/0/metrics.json", "artifacts/train_oracle/mnist/oracles.csv"),
        *("artifacts/train_vae/mnist/0/vae.safetensors", "artifacts/prepare/mnist/data.npz"),
        *("artifacts/train_vae/svhn/0/metrics.json", "docs/gpu.md"),
        *("results/mnist/cells/0/mnist_causes.csv", "results/mnist/cells/1/mnist_causes.csv"),
        "results/mnist/studies/0/mnist_readings.csv",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name, encoding="utf-8")

    def brought():
        return {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()}

    copy_small(here, "mnist-0")
    held = {f"artifacts/{name}" for name in ("train_vae/mnist/0/metrics.json", "train_oracle/mnist/oracles.csv")}
    assert brought() == {*held, "docs/gpu.md"}
    seconds = Path("artifacts/stage-seconds.csv")
    lines = "stage,dataset,seed,seconds\nsummarize_studies,mnist,1,2\nsummarize_cell,mnist,0,3\n"
    seconds.write_text(lines, encoding="utf-8")
    copy_small(here, "mnist-0")
    assert brought() == {*held, "docs/gpu.md", str(seconds), "results/mnist/cells/0/mnist_causes.csv"}


def test_the_commands_of_all_parts_are_ours():
    search, cells, *others = (part.command for part in parts(["mnist-0", "svhn-0"], 3))
    asked = {command[2] for command in (search, *others)}
    assert asked == {"search", "formats", "memory", "stages"}
    assert cells[:4] == ["-m", "experiments.replicate", "--jobs", "3"] and cells[-2] in selectors("identify@mnist-0")


@pytest.mark.skipif(find_spec("pip") is None, reason="this Python has no pip")
def test_what_is_missing_comes_from_the_wheels_and_from_nowhere_else(here, capfd):
    about = "tiny-1.0.dist-info"
    Path("wheels").mkdir()
    with zipfile.ZipFile("wheels/tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "X = 3")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", f"tiny.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    Path("pyproject.toml").write_text('[project]\ndependencies = ["tiny>=1"]\n', encoding="utf-8")
    python = installed(Path("wheels"))
    # numpy is this Python's, which may itself be an environment's.
    said = subprocess.run([python, "-c", "import numpy, tiny; print(tiny.X)"], check=True, capture_output=True)
    assert said.stdout == b"3\n" and Path(python).is_relative_to(Path("artifacts").absolute())
    Path("pyproject.toml").write_text('[project]\ndependencies = ["tiny>=2"]\n', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^on_a_gpu: python -m pip ended with 1: see above$"):
        command([str(here), "--wheels", "wheels"])
    assert "tiny>=2" in capfd.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_cuda_nothing_is_measured(here, capfd):
    with pytest.raises(SystemExit, match=r"^on_a_gpu: python -c ended with 1: see above$"):
        command([str(here)])
    assert "torch sees no CUDA" in capfd.readouterr().err
    assert list(here.iterdir()) == []
