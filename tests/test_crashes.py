"""Stages of the digits killed at random moments: the next `dvc repro` ends as if nothing had happened."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from conftest import DIGITS, run
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

KILLED = (
    "prepare@digits",
    "train_vae@digits-0",
    "train_oracle@digits",
    "identify@digits-0",
    "correct@digits-0",
    "summarize@digits",
    "atlas@digits",
)  # of each kind: data, training, search, sweep, tables, page
SIDE_BY_SIDE = ("ablate_noise@digits-0", "correct@digits-0", "finetune_baseline@digits-0", "novelty@digits-0")
KILLS_PER_STAGE = 3
TRAININGS = ("train_vae@digits-0", "train_oracle@digits")  # those that last long enough to be met after a checkpoint
START_SECONDS = 4.0  # in which the first stage is killed; each later one in what a whole run took last


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """A command in a process group of its own, output to a file in the folder's parent."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name != "DEFUSE_DATA_DIR"}
    with open(folder.parent / "killed.log", "a", encoding="utf-8") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, "PATH": path, "DVC_NO_ANALYTICS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(process: subprocess.Popen[str]) -> bool:
    """Kill DVC, its shell and the stage at once; whether they were still running."""
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return running


def killed_after_a_checkpoint(folder: Path, stage: str) -> bool:
    """Start a training anew and kill it as soon as it has a checkpoint; whether that was in time."""
    forget(folder, [stage])
    process = start(folder, "dvc", "repro", "--single-item", stage)
    checkpoints = folder / "artifacts" / "checkpoints"
    while process.poll() is None and not list(checkpoints.glob("**/[!.]*.safetensors")):
        time.sleep(0.005)
    return kill(process)


def recorded(folder: Path) -> dict[str, dict[str, str]]:
    """The md5 of each output of each stage, by `dvc.lock`."""
    stages = YAML(typ="safe").load(folder / "dvc.lock")["stages"]
    return {name: {out["path"]: out["md5"] for out in stage["outs"]} for name, stage in stages.items()}


def forget(folder: Path, stages: Iterable[str]) -> None:
    """Make DVC run stages again that it would else restore: neither `dvc.lock` nor the run cache knows them."""
    yaml = YAML(typ="safe")
    lock = yaml.load(folder / "dvc.lock")
    for stage in stages:
        lock["stages"].pop(stage, None)
    yaml.dump(lock, folder / "dvc.lock")
    shutil.rmtree(folder / ".dvc/cache/runs", ignore_errors=True)


def put_back_if_damaged(folder: Path, before: bytes, stage: str) -> None:
    """DVC writes `dvc.lock` and `.dvc/tmp/rwlock` in place: where the kill fell into such a moment, do what
    docs/operation.md says."""
    from experiments.running.replication import delete_damaged_rwlock

    delete_damaged_rwlock(folder)
    lock, yaml = folder / "dvc.lock", YAML(typ="safe")
    try:
        after = yaml.load(lock)["stages"]
    except (YAMLError, KeyError, TypeError):
        after = {}
    others = {name: entry for name, entry in yaml.load(before)["stages"].items() if name != stage}
    if any(after.get(name) != entry for name, entry in others.items()):
        lock.write_bytes(before)


@pytest.fixture(scope="module")
def disturbed(clone, tmp_path_factory):
    """A copy, stages of which were each killed several times and then run; the kills that landed, by stage."""
    folder = Path(shutil.copytree(clone, tmp_path_factory.mktemp("disturbed") / "defuse", symlinks=True))
    generator, kills, within = random.Random(10), {}, START_SECONDS
    for stage in KILLED:
        kills[stage], lock = 0, (folder / "dvc.lock").read_bytes()
        while kills[stage] < KILLS_PER_STAGE:  # one that came after the end does not count
            forget(folder, [stage])
            process = start(folder, "dvc", "repro", "--single-item", stage)
            start_of_run = time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(generator.uniform(0, within))
                within = time.monotonic() - start_of_run  # it ended first: so long it takes
            kills[stage] += kill(process)
            put_back_if_damaged(folder, lock, stage)
        checkpointed = stage in TRAININGS and killed_after_a_checkpoint(folder, stage)
        kills[stage] += checkpointed
        put_back_if_damaged(folder, lock, stage)
        forget(folder, [stage])  # a kill may have come after the record and before DVC's end
        start_of_run = time.monotonic()
        said = run(folder, "dvc", "repro", "--single-item", stage)
        within = time.monotonic() - start_of_run
        assert "Running stage" in said and (not checkpointed or "continues after epoch" in said), said
    return folder, kills


def test_killed_stages_end_with_the_bytes_of_an_undisturbed_run(clone, disturbed, capsys):
    folder, kills = disturbed
    assert recorded(folder) == recorded(clone)
    assert run(folder, "dvc", "status", *DIGITS).strip().endswith("up to date.")
    landed = sum(kills.values())
    with capsys.disabled():
        print(f"\nkills survived / tried: {landed} / {landed}, over {len(kills)} stages")
    assert landed >= 20 and all(kills.values())


def test_what_is_recorded_is_what_lies_on_the_disk(disturbed):
    assert "as recorded" in run(disturbed[0], sys.executable, "-m", "experiments.verify")


def test_a_kill_leaves_nothing_behind(disturbed):
    folder = disturbed[0]
    assert not list(folder.glob("artifacts/checkpoints/**/*.safetensors"))
    assert not [path for top in ("artifacts", "results") for path in (folder / top).glob("**/.*")]
    assert json.loads((folder / "results/digits/metrics.json").read_text(encoding="utf-8"))["data"].startswith("Digits")


def test_a_killed_replication_goes_on(clone, disturbed):
    folder, generator = disturbed[0], random.Random(11)
    command = (sys.executable, "-m", "experiments.replicate", *DIGITS, "--jobs", "2")
    forget(folder, SIDE_BY_SIDE)
    logs = folder / "artifacts" / "logs"
    for _ in range(2):
        shutil.rmtree(logs, ignore_errors=True)
        process = start(folder, *command)
        while process.poll() is None and not any(logs.glob("*.log")):
            time.sleep(0.05)
        time.sleep(generator.uniform(0, 4))
        landed = kill(process)  # the runner alone: its stages go on until the next runner ends them
        assert landed, (folder.parent / "killed.log").read_text(encoding="utf-8")[-4000:]
    assert not set(SIDE_BY_SIDE) <= set(YAML(typ="safe").load(folder / "dvc.lock")["stages"])
    run(folder, *command)
    assert recorded(folder) == recorded(clone)
