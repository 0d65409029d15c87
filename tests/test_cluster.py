"""Cells on Ray's workers, on a toy pipeline: same lock and outputs as `dvc repro`, kills, failures, refusals."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from defuse.core.errors import ClusterError, PipelineError, ReplicationError
from experiments.replicate_on_cluster import command
from experiments.running.cluster import pruned_lock, replicate_on_cluster
from experiments.running.lock_file import order_lock
from experiments.running.pipeline import stage_graph, with_needs
from experiments.running.replication import only_replication
from experiments.running.units import plan

ROOT = Path(__file__).resolve().parent.parent

PIPELINE = """\
stages:
  prepare:
    matrix: {dataset: '${datasets}'}
    cmd: python step.py prepare ${item.dataset}
    deps: [step.py]
    outs: ['art/prepare/${item.dataset}']
  oracle:
    matrix: {dataset: '${datasets}'}
    cmd: python step.py oracle ${item.dataset} art/prepare/${item.dataset}
    deps: [step.py, 'art/prepare/${item.dataset}']
    outs: ['art/oracle/${item.dataset}']
  train:
    matrix: {dataset: '${datasets}', seed: '${seeds}'}
    cmd: python step.py train ${item.dataset}/${item.seed} art/prepare/${item.dataset}
    deps: [step.py, 'art/prepare/${item.dataset}']
    outs: ['art/train/${item.dataset}/${item.seed}']
  vote:
    matrix: {dataset: '${datasets}', seed: '${seeds}'}
    cmd: python step.py vote ${item.dataset}/${item.seed} art/oracle/${item.dataset}
      art/train/${item.dataset}/${item.seed}
    deps: [step.py, 'art/oracle/${item.dataset}', 'art/train/${item.dataset}/${item.seed}']
    outs: ['art/vote/${item.dataset}/${item.seed}']
  summary:
    matrix: {dataset: '${datasets}'}
    cmd: python step.py summary ${item.dataset} art/vote/${item.dataset}
    deps: [step.py, 'art/vote/${item.dataset}']
    outs: ['results/summary/${item.dataset}': {cache: false}]
  claims:
    cmd: python step.py claims all results/summary/a
    deps: [step.py, results/summary/a]
    outs: ['results/claims/all': {cache: false}]
"""

# As in our own: without it, each start of DVC in a fresh clone starts another process that asks for updates.
CONFIG = """\
[core]
    check_update = false
    remote = store
['remote "store"']
    url = {}
"""

STEP = '''\
"""Writes a digest of its inputs; JOURNAL gets a line per run, and files beside it order a kill or a failure."""
import hashlib, os, pathlib, sys, uuid

stage, item, *inputs = sys.argv[1:]
journal = pathlib.Path(os.environ["JOURNAL"])
with journal.open("a") as file:
    file.write(f"{stage}@{item.replace('/', '-')} {os.environ.get('OMP_NUM_THREADS')}\\n")
name = f"{stage}@{item.replace('/', '-')}"
order = journal.with_name(f"kill {name}")
if order.exists():
    import psutil

    order.unlink()
    next(p for p in psutil.Process().parents() if p.name().startswith("ray::")).kill()
    import time; time.sleep(60)
    order.with_name("survived the worker").touch()
if journal.with_name(f"fail {name}").exists():
    sys.exit("told to fail")
content = name + "".join(
    path.read_text() for given in inputs for path in sorted(pathlib.Path(given).rglob("*")) if path.is_file()
)
if journal.with_name("other bytes").exists():
    content += uuid.uuid4().hex
output = pathlib.Path("results" if stage in ("summary", "claims") else "art", stage, item)
output.mkdir(parents=True)
(output / "digest").write_text(hashlib.sha256(content.encode()).hexdigest())
'''


def run(folder: Path, *command: str) -> str:
    """Output of a command; a failure shows it."""
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def dvc(folder: Path, *arguments: str) -> str:
    return run(folder, sys.executable, "-m", "dvc", *arguments)


def commit(repository: Path) -> None:
    run(repository, "git", "add", "--all")
    run(repository, "git", "commit", "--quiet", "--message", "toy")


def outputs(repository: Path) -> dict[str, bytes]:
    """`dvc.lock` and every file that a stage wrote."""
    files = [repository / "dvc.lock", *(repository / "art").rglob("*"), *(repository / "results").rglob("*")]
    return {str(path.relative_to(repository)): path.read_bytes() for path in files if path.is_file()}


def locked(repository: Path) -> list[str]:
    """The stages in `dvc.lock`, in its order."""
    return list(YAML(typ="safe").load(repository / "dvc.lock")["stages"])


@pytest.fixture(autouse=True)
def environment(tmp_path_factory, monkeypatch):
    """DVC's own bookkeeping stays out of the machine's folders, and `python` is this one."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("site")))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """The pipeline, neither committed nor run."""
    repository = tmp_path_factory.mktemp("empty") / "repository"
    repository.mkdir()
    (repository / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (repository / "step.py").write_text(STEP, encoding="utf-8")
    (repository / ".gitignore").write_text("/art/\n", encoding="utf-8")
    run(repository, "git", "init", "--quiet")
    run(repository, "git", "config", "user.email", "toy@example.org")
    run(repository, "git", "config", "user.name", "toy")
    dvc(repository, "init", "--quiet")
    return repository


@pytest.fixture(scope="module")
def toy(empty):
    """A function that makes a committed pipeline in a folder, with a local-folder remote beside it."""

    def make(folder: Path, datasets: str = "[a]", seeds: str = "[0, 1]") -> Path:
        repository = shutil.copytree(empty, folder / "repository")
        (repository / "params.yaml").write_text(f"datasets: {datasets}\nseeds: {seeds}\n", encoding="utf-8")
        (repository / ".dvc/config").write_text(CONFIG.format(folder / "remote"), encoding="utf-8")
        commit(repository)
        return repository

    return make


@pytest.fixture(scope="module")
def journal(tmp_path_factory) -> Path:
    """A file outside of every repository to which stages report. One for all, since Ray's workers inherit its name."""
    file = tmp_path_factory.mktemp("journal") / "journal"
    # Not under pytest's folder: the names of Ray's sockets would be too long.
    folder = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
    with folder as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOURNAL", str(file))
        patch.setenv("TMPDIR", temporary)
        # A token of the tests' own: Ray would otherwise write one into the home folder.
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield file


@pytest.fixture
def ran(journal):
    """What has run so far in this test, as a count per stage."""
    journal.write_text("", encoding="utf-8")
    yield lambda: Counter(line.split()[0] for line in journal.read_text(encoding="utf-8").splitlines())
    for left in set(journal.parent.iterdir()) - {journal}:
        left.unlink()


@pytest.fixture(scope="module")
def session(journal):
    """One embedded Ray for the tests of this module that do not start their own."""
    pytest.importorskip("ray", reason="needs Ray: make .venv/installed-cluster")
    from experiments.running.cluster import ray_session

    with ray_session(workers=4, threads=1) as ray:
        yield ray


@pytest.fixture(scope="module")
def plain(tmp_path_factory, toy, journal) -> dict[str, dict[str, bytes]]:
    """What `dvc repro` leaves on one machine, of both data sets and of one of them alone."""
    repository = toy(tmp_path_factory.mktemp("plain"), datasets="[a, b]")
    dvc(repository, "repro", "--quiet")
    order_lock(repository, list(stage_graph(repository)))  # DVC leaves the lock in the order in which stages ended
    both = outputs(repository)
    lock = pruned_lock(repository, {stage for stage in locked(repository) if "@b" in stage})
    alone = {name: content for name, content in both.items() if Path(name).parts[2:3] != ("b",)}
    return {"[a, b]": both, "[a]": {**alone, "dvc.lock": lock}}


def test_units_come_from_the_stage_graph(toy, tmp_path):
    graph = stage_graph(toy(tmp_path, datasets="[a, b]"))
    work = plan(graph)
    assert set(work.first) == {"prepare@a", "prepare@b"}
    assert set(work.gathering) == {"summary@a", "summary@b", "claims"}
    units = {unit.name: unit for unit in work.units}
    assert set(units) == {"a", "b", "a-0", "a-1", "b-0", "b-1"}
    assert units["a"].stages == ("oracle@a",) and units["a"].after == ()
    assert set(units["b-1"].stages) == {"train@b-1", "vote@b-1"} and units["b-1"].after == ("b",)
    work = plan(with_needs(graph, ["summary@b"]))
    assert {unit.name for unit in work.units} == {"b", "b-0", "b-1"} and work.first == ("prepare@b",)
    work = plan(with_needs(graph, ["a-1"]))
    assert {unit.name for unit in work.units} == {"a", "a-1"} and work.gathering == ()


def test_the_shipped_pipeline_splits_into_cells_and_gathering_stages():
    work = plan(stage_graph(ROOT))
    assert {name.partition("@")[0] for name in work.first} == {"code", "prepare"}
    assert {name.partition("@")[0] for name in work.gathering} == {
        "summarize",
        "compare_by_eye",
        "figures",
        "atlas",
        "claims",
        "front_page",
        "demo",
    }
    shared = [unit for unit in work.units if not unit.after]
    once = {stage.partition("@")[0] for unit in shared for stage in unit.stages}
    assert once == {"train_features", "train_oracle", "train_checker", "calibrate_oracle"}


@pytest.mark.parametrize(("workers", "datasets", "stages"), [(1, "[a]", 8), (2, "[a]", 8), (4, "[a, b]", 15)])
def test_any_number_of_workers_leaves_what_one_machine_leaves(
    session, toy, tmp_path, plain, ran, workers, datasets, stages
):
    repository = toy(tmp_path, datasets)
    assert replicate_on_cluster(repository, [], workers=workers, threads=1) == {}
    assert outputs(repository) == plain[datasets]
    assert set(ran().values()) == {1} and len(ran()) == stages


def test_a_killed_worker_s_cell_runs_again(session, toy, tmp_path, plain, ran, journal):
    repository = toy(tmp_path)
    journal.with_name("kill vote@a-1").touch()
    assert replicate_on_cluster(repository, [], workers=2, threads=1) == {}
    assert outputs(repository) == plain["[a]"]
    assert {stage for stage, times in ran().items() if times == 2} == {"train@a-1", "vote@a-1"}
    assert max(ran().values()) == 2


def test_a_failing_cell_is_named_and_the_others_end(session, toy, tmp_path, ran, journal):
    repository = toy(tmp_path, datasets="[a, b]", seeds="[1]")
    (order := journal.with_name("fail vote@b-1")).touch()
    failed = replicate_on_cluster(repository, [], workers=2, threads=1)
    assert list(failed) == ["b-1"] and "repro" in failed["b-1"]
    assert (repository / "results/summary/a/digest").is_file() and not (repository / "results/summary/b").exists()
    assert ran()["vote@b-1"] == 1
    order.unlink()
    assert replicate_on_cluster(repository, ["b"], workers=2, threads=1) == {}
    assert (repository / "results/summary/b/digest").is_file()
    assert {stage for stage, times in ran().items() if times == 2} == {"vote@b-1"}  # its `train` was pushed
    assert locked(repository) == list(stage_graph(repository))


def test_cells_are_skipped_when_what_they_share_fails(session, toy, tmp_path, ran, journal):
    repository = toy(tmp_path, seeds="[0]")
    journal.with_name("fail oracle@a").touch()
    failed = replicate_on_cluster(repository, [], workers=4, threads=1)
    assert set(failed) == {"a", "a-0"} and "needs a" in failed["a-0"]
    assert set(ran()) == {"prepare@a", "oracle@a"} and (repository / "art/prepare/a/digest").is_file()


def test_a_committed_lock_of_another_machine_costs_no_second_run(session, toy, tmp_path, ran, journal):
    repository = toy(tmp_path, seeds="[0]")
    journal.with_name("other bytes").touch()
    dvc(repository, "repro", "--quiet")
    commit(repository)
    shutil.rmtree(repository / ".dvc" / "cache")
    shutil.rmtree(repository / "art")
    journal.write_text("", encoding="utf-8")
    assert replicate_on_cluster(repository, [], workers=2, threads=1) == {}
    assert set(ran().values()) == {1}
    assert locked(repository) == list(stage_graph(repository))
    journal.write_text("", encoding="utf-8")
    assert replicate_on_cluster(repository, [], workers=2, threads=1) == {}  # outputs need no commit
    assert not ran()


def test_outputs_that_were_pushed_without_the_run_cache_are_used(session, toy, tmp_path, ran):
    repository = toy(tmp_path, seeds="[0]")
    dvc(repository, "repro", "--quiet")
    dvc(repository, "push", "--quiet")
    order_lock(repository, list(stage_graph(repository)))  # DVC leaves the lock in the order in which stages ended
    commit(repository)
    before = outputs(repository)
    shutil.rmtree(repository / ".dvc" / "cache")
    shutil.rmtree(repository / "art")
    assert replicate_on_cluster(repository, [], workers=1, threads=1) == {}
    assert outputs(repository) == before and set(ran().values()) == {1}


def test_the_slurm_script_of_the_docs_leaves_the_same(toy, tmp_path, plain, ran, monkeypatch):
    repository = toy(tmp_path)
    script = next(
        block
        for block in (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8").split("```")
        if block.strip().startswith("#!")
    )
    (tmp_path / "cells.sh").write_text(script.strip(), encoding="utf-8")
    monkeypatch.setenv("REPOSITORY", str(repository))

    def array(listed: str, stages: str, tasks: int) -> None:
        for task in range(tasks):
            settings = [f"LIST={listed}", f"RUN={stages}", f"SLURM_ARRAY_TASK_ID={task}"]
            run(tmp_path, "env", *settings, "bash", "cells.sh")

    dvc(repository, "repro", "--pull", "prepare")
    dvc(repository, "push", "--run-cache", "prepare")
    array("oracle", "oracle", 1)
    array("train", "*", 2)
    dvc(repository, "repro", "--pull")
    order_lock(repository, list(stage_graph(repository)))  # DVC leaves the lock in the order in which stages ended
    assert outputs(repository) == plain["[a]"]
    assert set(ran().values()) == {1}


def test_a_running_cluster_runs_the_cell_that_is_asked_for(session, toy, tmp_path, plain, ran):
    repository = toy(tmp_path)
    script = (
        "import sys; from pathlib import Path; from experiments.running.cluster import replicate_on_cluster;"
        "sys.exit(bool(replicate_on_cluster(Path(sys.argv[1]), ['a-0'], workers=2, threads=1)))"
    )
    address = session.get_runtime_context().gcs_address
    environment = {**os.environ, "RAY_ADDRESS": address, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(repository)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    stages = ["prepare@a", "oracle@a", "train@a-0", "vote@a-0"]
    assert ran() == dict.fromkeys(stages, 1) and locked(repository) == stages
    made = {name: content for name, content in outputs(repository).items() if name != "dvc.lock"}
    assert len(made) == 4 and made.items() <= plain["[a]"].items()


def test_changes_that_workers_would_not_see_are_refused(toy, tmp_path):
    repository = toy(tmp_path)
    (repository / "step.py").write_text("print('edited')\n", encoding="utf-8")
    with pytest.raises(ClusterError, match=r"uncommitted changes in step\.py"):
        replicate_on_cluster(repository, [], workers=1, threads=1)


def test_a_commit_that_the_clone_lacks_is_refused(toy, tmp_path):
    repository = toy(tmp_path)
    run(tmp_path, "git", "clone", "--quiet", "repository", "other")
    (repository / "params.yaml").write_text("datasets: [a]\nseeds: [0]\n", encoding="utf-8")
    commit(repository)
    with pytest.raises(ClusterError, match=r"other' lacks commit .*push it"):
        replicate_on_cluster(repository, [], workers=1, threads=1, repository=str(tmp_path / "other"))


def test_a_missing_or_unknown_remote_is_refused(toy, tmp_path):
    repository = toy(tmp_path)
    with pytest.raises(ClusterError, match="remote 'stor': no such DVC remote; allowed: store"):
        replicate_on_cluster(repository, [], workers=1, threads=1, remote="stor")
    dvc(repository, "remote", "remove", "store")
    commit(repository)
    with pytest.raises(ClusterError, match="no DVC remote: dvc remote add"):
        replicate_on_cluster(repository, [], workers=1, threads=1)


def test_a_remote_without_a_run_cache_is_refused(toy, tmp_path):
    repository = toy(tmp_path)
    dvc(repository, "remote", "add", "web", "https://example.org/store")
    commit(repository)
    with pytest.raises(ClusterError, match=r"'web' .* keeps no run cache"):
        replicate_on_cluster(repository, [], workers=1, threads=1, remote="web")


def test_an_unknown_target_is_refused_with_the_allowed_ones(toy, tmp_path):
    with pytest.raises(PipelineError, match="target 'summary@c' selects no stage; allowed: a, a-0, a-1, claims, "):
        replicate_on_cluster(toy(tmp_path), ["summary@c"], workers=1, threads=1)


def test_two_replications_in_one_folder_are_refused(toy, tmp_path):
    repository = toy(tmp_path)
    before = outputs(repository)
    with only_replication(repository), pytest.raises(ReplicationError, match="is already running in this folder"):
        replicate_on_cluster(repository, [], workers=1, threads=1)
    assert outputs(repository) == before


def test_the_command_line_says_what_is_wrong_without_a_traceback(monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match="replicate_on_cluster: target 'figures@mnits' selects no stage"):
        command(["figures@mnits"])
    assert "--repository" in run(ROOT, sys.executable, "-m", "experiments.replicate_on_cluster", "--help")


def test_without_ray_the_message_says_how_to_get_it(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'defuse\[cluster\]'"):
        replicate_on_cluster(toy(tmp_path), [], workers=1, threads=1)
