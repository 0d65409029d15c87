"""Stages side by side, in a small DVC repository with the shape of ours and commands that take no time."""

import copy
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pandas as pd
import psutil
import pytest
from conftest import waiting_stages
from rich.console import Console
from ruamel.yaml import YAML

from defuse.core.params_file import load_params
from experiments.replicate import command
from experiments.running import replication
from experiments.running.lock_file import order_lock, shorten_lock
from experiments.running.pipeline import (
    selectors,
    stage_and_cell,
    stage_graph,
    starting_order,
    with_needs,
)
from experiments.running.progress import Attempt, running_table
from experiments.running.replication import auto_jobs, jobs_at_once, only_replication, replicate

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = """
stages:
  prepare:
    matrix: {dataset: "${datasets}"}
    cmd: python work.py artifacts/prepare/${item.dataset} source_${item.dataset}
    deps: [work.py, "source_${item.dataset}"]
    params: ["prepare.${item.dataset}"]
    outs: ["artifacts/prepare/${item.dataset}"]
  train:
    matrix: {dataset: "${datasets}", seed: "${seeds}"}
    cmd: python work.py artifacts/train/${item.dataset}/${item.seed} artifacts/prepare/${item.dataset}
    deps: [work.py, "artifacts/prepare/${item.dataset}"]
    outs: ["artifacts/train/${item.dataset}/${item.seed}"]
  gather:
    matrix: {dataset: "${datasets}"}
    cmd: python work.py results/${item.dataset} artifacts/train/${item.dataset}/0 artifacts/train/${item.dataset}/1
    deps: [work.py, "artifacts/train/${item.dataset}"]
    outs: [{"results/${item.dataset}": {cache: false}}]
  claims:
    cmd: python work.py results/claims results/digits results/mnist
    deps: [work.py, results/digits, results/mnist]
    outs: [{results/claims: {cache: false}}]
"""
# The files `fail`, `hold` and `meet` name stages that fail, never end, or end only while all of them run.
WORK = """
import os, sys, time
from pathlib import Path

output, *inputs = map(Path, sys.argv[1:])
stage = os.environ["DVC_STAGE"]


def named(file):
    return Path(file).read_text(encoding="utf-8").split() if Path(file).exists() else []


def note(word):
    with open("events", "a") as events:
        events.write(f"{word} {stage} {os.getpid()}\\n")


note("start")
if Path("dvc.lock").exists():
    with open("references", "a") as references:
        references.write(f"{Path('dvc.lock').read_text().count('*id')}\\n")
print("working on", stage, os.environ["OMP_NUM_THREADS"] if "OMP_NUM_THREADS" in os.environ else "")
if stage in named("fail"):
    sys.exit(f"{stage} was made to fail")
if stage in named("hold"):
    time.sleep(600)
if stage in named("meet"):
    Path(f"met-{stage}").touch()
    deadline = time.monotonic() + 60
    while not all(Path(f"met-{other}").exists() for other in named("meet")):
        assert time.monotonic() < deadline, "the others never came"
        time.sleep(0.05)
output.parent.mkdir(parents=True, exist_ok=True)
output.write_text(stage + "".join(file.read_text(encoding="utf-8") for file in inputs))
note("end")
"""
STAGES = [
    "prepare@digits",
    "prepare@mnist",
    "train@digits-0",
    "train@digits-1",
    "train@mnist-0",
    "train@mnist-1",
    "gather@digits",
    "gather@mnist",
    "claims",
]


@pytest.fixture(scope="module", autouse=True)
def environment() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        yield


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, environment, shipped_tree) -> Path:
    """The repository before any stage ran."""
    folder = tmp_path_factory.mktemp("fresh") / "toy"
    folder.mkdir()
    (folder / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (folder / "work.py").write_text(WORK, encoding="utf-8")
    for dataset in ("digits", "mnist"):
        (folder / f"source_{dataset}").write_text(dataset, encoding="utf-8")
    params = {**copy.deepcopy(shipped_tree), "datasets": ["digits", "mnist"], "seeds": [0, 1], "study_seeds": [0]}
    YAML().dump(params, folder / "params.yaml")
    (folder / ".gitignore").write_text("/artifacts/\n", encoding="utf-8")
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    (folder / ".dvc/config").write_text("[core]\n    check_update = false\n", encoding="utf-8")
    return folder


def replicated(folder: Path, jobs: str, *targets: str, terminal: bool = False) -> tuple[int, str]:
    """Exit status and printed text of a replication in this process."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(replication, "SHORTEN_AFTER", 3)
        console = Console(file=printed, force_terminal=terminal, width=100)
        compute = load_params(Path("params.yaml")).compute
        return replicate(console, Path(), compute, list(targets), jobs), printed.getvalue()


def events(folder: Path) -> list[list[str]]:
    """Word, stage and process id, in the order of time; none if nothing ran."""
    file = folder / "events"
    return [line.split() for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def started(folder: Path) -> list[str]:
    return [stage for word, stage, _ in events(folder) if word == "start"]


def most_at_once(folder: Path) -> int:
    running, most = 0, 0
    for word, *_ in events(folder):
        running += 1 if word == "start" else -1
        most = max(most, running)
    return most


def outputs(folder: Path) -> dict[str, str]:
    files = [path for top in ("artifacts", "results") for path in (folder / top).rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in files if path.name != ".gitignore"}
    made_by_the_runner = ("artifacts/logs/", "artifacts/stage-seconds.csv", "artifacts/replicate.lock")
    return {
        name: path.read_text(encoding="utf-8")
        for name, path in names.items()
        if not name.startswith(made_by_the_runner)
    }


def lock(folder: Path) -> dict:
    return YAML(typ="safe").load(folder / "dvc.lock")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, fresh) -> dict[str, Path]:
    """The repository after runs with 1, 2 and 4 jobs and after a plain `dvc repro`; two stages met where they could."""
    folders = {}
    for jobs in ("1", "2", "4", "repro"):
        folders[jobs] = shutil.copytree(fresh, tmp_path_factory.mktemp("finished") / "toy")
        if jobs in ("2", "4"):
            (folders[jobs] / "meet").write_text("train@digits-0 train@digits-1", encoding="utf-8")
        if jobs == "repro":
            run(folders[jobs], "dvc", "repro")
            order_lock(folders[jobs], STAGES)  # DVC leaves the lock in the order in which stages ended
        else:
            status, text = replicated(folders[jobs], jobs)
            assert status == 0, text
    return folders


def test_any_number_of_jobs_gives_the_same_bytes(finished):
    one, two, four, repro = finished.values()
    assert len({(folder / "dvc.lock").read_bytes() for folder in finished.values()}) == 1
    assert list(lock(one)["stages"]) == STAGES
    assert outputs(one) == outputs(two) == outputs(four) == outputs(repro)


def test_the_lock_is_short_while_stages_run_and_written_out_when_they_ended(finished):
    for jobs, folder in finished.items():
        most = max(map(int, (folder / "references").read_text(encoding="utf-8").split()))
        assert most == 0 if jobs == "repro" else most >= 4
        assert "*id" not in (folder / "dvc.lock").read_text(encoding="utf-8")


def test_each_stage_runs_once_and_never_more_than_jobs_at_once(finished):
    for jobs in ("1", "2", "4"):
        assert sorted(started(finished[jobs])) == sorted(STAGES)
        assert most_at_once(finished[jobs]) <= int(jobs)
    assert most_at_once(finished["2"]) == 2  # two stages ended only because both ran


def test_seconds_and_logs_are_kept(finished):
    table = pd.read_csv(finished["2"] / "artifacts/stage-seconds.csv", keep_default_na=False, encoding="utf-8")
    names = [
        f"{stage}@{dataset}{'-' if seed else ''}{seed}".rstrip("@")
        for stage, dataset, seed in zip(table.stage, table.dataset, table.seed)
    ]
    assert sorted(names) == sorted(STAGES) and (table.seconds.astype(float) > 0).all()
    log = (finished["2"] / "artifacts/logs/train@mnist-1.log").read_text(encoding="utf-8")
    assert "working on train@mnist-1 1" in log  # the 1 is OMP_NUM_THREADS


def test_nothing_runs_twice_and_an_edit_runs_only_what_it_must(finished, tmp_path):
    folder = shutil.copytree(finished["1"], tmp_path / "toy")
    (folder / "events").unlink()
    seconds = (folder / "artifacts/stage-seconds.csv").read_bytes()
    status, text = replicated(folder, "2")
    assert status == 0 and "9 stages, 9 of them up to date" in text
    assert started(folder) == [] and (folder / "artifacts/stage-seconds.csv").read_bytes() == seconds

    params = (folder / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(
        params.replace("validation_fraction: 0.15", "validation_fraction: 0.2"), encoding="utf-8"
    )
    status, text = replicated(folder, "2", "digits")
    assert status == 0 and started(folder) == ["prepare@digits"]  # its bytes are the same, so nothing follows
    assert "1 stages ran, 3 had nothing to do, 0 failed" in text

    (folder / "source_mnist").write_text("other", encoding="utf-8")
    status, text = replicated(folder, "2", "train@mnist-1")
    assert status == 0 and started(folder) == ["prepare@digits", "prepare@mnist", "train@mnist-1"]
    table = pd.read_csv(folder / "artifacts/stage-seconds.csv", encoding="utf-8")
    assert len(table) == len(STAGES)


def test_a_failure_stops_only_what_depends_on_it(finished, fresh, tmp_path):
    folder = shutil.copytree(fresh, tmp_path / "toy")
    (folder / "fail").write_text("train@mnist-0", encoding="utf-8")
    status, text = replicated(folder, "2")
    assert status == 1
    assert set(started(folder)) == set(STAGES) - {"gather@mnist", "claims"}
    assert "Failed: train@mnist-0. The end of artifacts/logs/train@mnist-0.log:" in text
    assert "train@mnist-0 was made to fail" in text
    for stage in ("gather@mnist", "claims"):
        assert f"Skipped: {stage}, which needs train@mnist-0" in text
    assert "6 stages ran, 0 had nothing to do, 1 failed" in text and "Interrupted" not in text
    assert list(lock(folder)["stages"]) == [stage for stage in STAGES if stage in lock(folder)["stages"]]

    (folder / "fail").unlink()
    (folder / "events").unlink()
    status, text = replicated(folder, "2", terminal=True)
    assert status == 0 and started(folder) == ["train@mnist-0", "gather@mnist", "claims"]
    assert "mnist seed 0" in text and "0 of 3 done" in text
    assert (folder / "dvc.lock").read_bytes() == (finished["1"] / "dvc.lock").read_bytes()


UNFINISHED = ["train@mnist-0", "train@mnist-1"]


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def held(finished: Path, folder: Path) -> tuple[Path, subprocess.Popen[str], list[psutil.Process]]:
    """A copy of a finished run in which two stages run again and never end; the runner, and what it started."""
    folder = shutil.copytree(finished, folder)
    (folder / "events").unlink()
    content = lock(folder)
    for stage in UNFINISHED:
        del content["stages"][stage]
    YAML().dump(content, folder / "dvc.lock")
    shutil.rmtree(folder / ".dvc/cache/runs")
    (folder / "hold").write_text(" ".join(UNFINISHED), encoding="utf-8")
    command = [sys.executable, "-m", "experiments.replicate", "--jobs", "2"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True)
    wait_for(lambda: len(started(folder)) == 2, "the two stages")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 4  # two of DVC's processes, and their commands
    return folder, process, children


def goes_on(folder: Path, finished: Path) -> str:
    """Let the held stages run to their end; what the runner says."""
    (folder / "hold").unlink()
    (folder / "events").unlink()
    status, text = replicated(folder, "2")
    assert status == 0 and sorted(started(folder)) == UNFINISHED
    assert (folder / "dvc.lock").read_bytes() == (finished / "dvc.lock").read_bytes()
    assert outputs(folder) == outputs(finished)
    return text


def test_a_half_written_rwlock_of_dvc_is_deleted(finished, tmp_path):
    folder = shutil.copytree(finished["1"], tmp_path / "toy")
    (folder / ".dvc/tmp/rwlock").write_text('{"read": {"artifacts/prepare', encoding="utf-8")
    status, text = replicated(folder, "1")
    assert status == 0 and "Deleted .dvc/tmp/rwlock" in text
    assert "Deleted" not in replicated(folder, "1")[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_process_and_the_next_goes_on(finished, tmp_path, number, code):
    folder, process, children = held(finished["1"], tmp_path / "toy")
    os.killpg(process.pid, number)
    text, _ = process.communicate(timeout=90)
    assert process.returncode == code
    assert "Interrupted: train@mnist-0, train@mnist-1. The next `make replicate` continues" in text
    assert not any(child.is_running() for child in children)
    assert "killed" not in text and YAML(typ="safe").load(folder / ".dvc/tmp/rwlock") in ({}, {"read": {}, "write": {}})
    goes_on(folder, finished["1"])


def test_stages_that_outlive_a_killed_runner_are_ended_by_the_next(finished, tmp_path):
    folder, process, children = held(finished["1"], tmp_path / "toy")
    elsewhere, other, untouched = held(finished["1"], tmp_path / "elsewhere")
    process.kill()
    process.communicate()
    assert all(child.is_running() for child in children)
    assert f"Ended {len(children)} processes that a killed replication left" in goes_on(folder, finished["1"])
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert all(child.is_running() for child in untouched) and elsewhere != folder
    os.killpg(other.pid, signal.SIGINT)
    other.communicate(timeout=90)


def test_a_second_replication_is_refused(finished, monkeypatch):
    monkeypatch.chdir(finished["1"])
    with (
        only_replication(Path()),
        pytest.raises(SystemExit, match=f"already running in this folder, as process {os.getpid()}"),
    ):
        command()


@pytest.mark.parametrize("jobs", ["0", "many", "-1", "1.5", "", "²"])
def test_a_bad_number_of_jobs_is_named(fresh, monkeypatch, jobs):
    monkeypatch.chdir(fresh)
    with pytest.raises(SystemExit, match=f"jobs '{jobs}' is not allowed; allowed: auto, or a whole number from 1"):
        command(jobs=jobs)


def test_an_unknown_target_is_named_with_those_allowed(fresh, monkeypatch):
    monkeypatch.chdir(fresh)
    with pytest.raises(SystemExit, match="target 'train@svhn-0' selects no stage; allowed: claims, digits, digits-0, "):
        command(["mnist", "train@svhn-0"])


def test_a_folder_that_dvc_cannot_read_is_named(tmp_path, monkeypatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"no folder \.dvc in .*: clone or unpack the repository whole"):
        command()


@pytest.mark.parametrize(
    ("cores", "threads", "gibibytes", "on_the_gpu", "jobs"),
    [
        (2, 1, 64, None, 2),
        (8, 2, 64, None, 4),
        (8, 3, 64, None, 2),
        (2, 4, 64, None, 1),
        (16, 1, 10, None, 3),
        (16, 1, 1, None, 1),
        (16, 1, 64, 80, 4),
        (16, 1, 64, 11, 2),
        (16, 1, 64, 2, 1),
        (2, 1, 64, 80, 2),
    ],
)
def test_auto_fits_cores_memory_and_gpu(cores, threads, gibibytes, on_the_gpu, jobs):
    assert auto_jobs(cores, threads, gibibytes * 2**30, on_the_gpu and on_the_gpu * 2**30) == jobs


def test_more_jobs_than_fit_are_allowed_with_a_warning(tree, monkeypatch, tmp_path):
    YAML().dump({**tree, "compute": {**tree["compute"], "device": "cpu"}}, tmp_path / "params.yaml")
    compute = load_params(tmp_path / "params.yaml").compute
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 64 * 2**30}))
    assert jobs_at_once("auto", compute) == jobs_at_once("2", compute)
    jobs, sentence = jobs_at_once("5", compute)
    assert jobs == 5 and "Warning: auto would take 2" in sentence and "15 GiB" in sentence
    assert "Warning" not in jobs_at_once("1", compute)[1]


def test_names_tell_stage_data_set_and_seed():
    assert stage_and_cell("identify@mnist-0") == ("identify", "mnist", 0)
    assert stage_and_cell("prepare@mnist") == ("prepare", "mnist", None)
    assert stage_and_cell("claims") == ("claims", None, None)
    assert selectors("identify@mnist-0") == {"identify@mnist-0", "identify", "mnist", "mnist-0"}


def test_targets_bring_what_they_need_in_the_order_of_the_pipeline(fresh):
    graph = stage_graph(fresh)
    assert list(graph) == STAGES and graph["gather@digits"] == {"train@digits-0", "train@digits-1"}
    assert list(with_needs(graph, ["gather@mnist"])) == [stage for stage in STAGES if "mnist" in stage]
    assert list(with_needs(graph, ["digits-1"])) == ["prepare@digits", "train@digits-1"]
    assert with_needs(graph, ["claims"]) == with_needs(graph, []) == graph


def test_our_own_pipeline_is_read_whole():
    graph = stage_graph(ROOT)
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    assert list(dict.fromkeys(stage_and_cell(stage)[0] for stage in graph)) == list(stages)
    read = [f"{stage}@{data}" for stage in ("summarize", "compare_by_eye") for data in ("mnist", "svhn", "gtsrb")]
    assert graph["claims"] == {"code", *read}


def test_the_longest_chain_starts_first():
    graph = {"short": set(), "long": set(), "middle": {"long"}, "end": {"middle"}, "alone": set()}
    assert starting_order(graph) == ["long", "middle", "short", "end", "alone"]


def test_the_lock_keeps_stages_that_the_pipeline_lost(finished, tmp_path):
    folder = shutil.copytree(finished["1"], tmp_path / "toy")
    before = lock(folder)
    order_lock(folder, ["claims", "train@mnist-1"])
    assert list(lock(folder)["stages"])[:3] == ["claims", "train@mnist-1", "prepare@digits"] and lock(folder) == before
    order_lock(folder, STAGES)
    assert (folder / "dvc.lock").read_bytes() == (finished["1"] / "dvc.lock").read_bytes()


def test_a_short_lock_says_the_same_to_dvc_and_is_written_out_again(finished, tmp_path):
    folder = shutil.copytree(finished["1"], tmp_path / "toy")
    before, written_out = lock(folder), (folder / "dvc.lock").read_text(encoding="utf-8")
    shorten_lock(folder)
    short = (folder / "dvc.lock").read_text(encoding="utf-8")
    assert len(short.splitlines()) < 0.8 * len(written_out.splitlines()) and lock(folder) == before
    assert waiting_stages(folder, stage_graph(folder)) == {}
    # A stage whose entry holds what others refer to.
    assert "- &id001" in short[: short.index("prepare@mnist")]
    run(folder, sys.executable, "-m", "dvc", "repro", "--single-item", "--force", "prepare@digits")
    again = (folder / "dvc.lock").read_text(encoding="utf-8")
    assert again not in (short, written_out) and lock(folder) == before
    assert waiting_stages(folder, stage_graph(folder)) == {}
    shorten_lock(folder)
    assert (folder / "dvc.lock").read_text(encoding="utf-8") == short
    order_lock(folder, STAGES)
    assert (folder / "dvc.lock").read_text(encoding="utf-8") == written_out


def test_a_terminal_shows_a_line_per_running_stage(tmp_path):
    now = time.monotonic()
    attempts = {
        "prepare@mnist": Attempt(None, tmp_path, now, 3.0, "ran"),
        "train@mnist-0": Attempt(None, tmp_path, now - 3725),
        "train@mnist-1": Attempt(None, tmp_path, now, 2.0, "failed"),
        "claims": Attempt(None, tmp_path, now - 5),
    }
    console = Console(file=io.StringIO(), width=100)
    console.print(running_table(attempts, 9))
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[0] == ["mnist", "seed", "0", "train", "1:02:05"]
    assert lines[1] == ["all", "data", "sets", "claims", "0:00:05"]
    assert lines[2] == ["1", "of", "9", "done", "1", "failed", "train@mnist-1"]
