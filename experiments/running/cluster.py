"""Cells on several machines: Ray hands them to workers, a DVC remote carries results, the head gathers."""

import contextlib
import logging
import os
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from dvc.utils.serialize import modify_yaml

from defuse.core.errors import ClusterError
from experiments.running import worker
from experiments.running.lock_file import order_lock
from experiments.running.pipeline import opened, stage_graph, with_dependents, with_needs
from experiments.running.replication import only_replication
from experiments.running.units import Unit, plan
from experiments.running.worker import LOCK, Outcome, Source, put_lock, run_unit

logger = logging.getLogger(__name__)


RETRIES = 3  # times that a unit is run again after its worker died


def git(folder: Path, *arguments: str) -> str:
    """Output of a git command.

    Raises:
        ClusterError: with git's message.
    """
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise ClusterError(f"git {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout.rstrip()


def clone_url(root: Path) -> str:
    """The URL of `origin`, or the repository's own folder when there is none."""
    if "origin" not in git(root, "remote").split():
        return str(root)
    url = git(root, "remote", "get-url", "origin")
    return str((root / url).resolve()) if (root / url).is_dir() else url


def checked_source(root: Path, remote: str | None, repository: str | None) -> Source:
    """Commit, clone URL and remote of a run, checked.

    `dvc.lock` and what stages write may differ from the commit: workers get the first and make the others.

    Raises:
        ClusterError: no such remote, one without a run cache, uncommitted changes, or a commit that the URL lacks.
    """
    with opened(root) as repo:
        known = repo.config["remote"]
        remote = remote or repo.config["core"].get("remote")
        if remote is None:
            raise ClusterError("no DVC remote: dvc remote add --default NAME FOLDER_OR_URL, or name one with --remote")
        if remote not in known:
            raise ClusterError(f"remote {remote!r}: no such DVC remote; allowed: {', '.join(known) or 'none is set'}")
        section = {key: str(value) if isinstance(value, str) else value for key, value in known[remote].items()}
        if section["url"].startswith(("http:", "https:")) or section.get("worktree") or section.get("version_aware"):
            raise ClusterError(f"remote {remote!r} ({section['url']}): this kind of remote keeps no run cache")
        written = [LOCK, *(out.def_path for stage in repo.index.stages for out in stage.outs)]
    ignored = [f":(exclude){path}" for path in written]
    changed = git(root, "diff", "--name-only", "HEAD", "--", ".", *ignored).splitlines()
    if changed:
        raise ClusterError(f"uncommitted changes in {', '.join(changed)}: workers clone a commit, so commit them first")
    url, commit = repository or clone_url(root), git(root, "rev-parse", "HEAD")
    with tempfile.TemporaryDirectory() as folder:
        git(root, "clone", "--quiet", "--bare", url, folder)
        try:
            git(Path(folder), "cat-file", "-e", f"{commit}^{{commit}}")
        except ClusterError:
            raise ClusterError(f"repository {url!r} lacks commit {commit[:10]}: push it, or name another URL") from None
    return Source(url, commit, remote, section, b"")


def push_finished(root: Path, remote: str, stages: Collection[str]) -> set[str]:
    """Push the outputs of `stages` that are here; those whose outputs the remote then lacks, by `dvc.lock`."""
    with opened(root, remote) as repo:
        chosen = [stage for stage in repo.index.stages if stage.name in stages]
        here = [stage for stage in chosen if all(out.hash_info for out in stage.outs) and stage.outs_cached()]
        if here:
            repo.push([stage.name for stage in here], run_cache=True, remote=remote)
        objects = {
            stage.name: {out.hash_info.value for out in stage.outs if out.use_cache and out.hash_info}
            for stage in chosen
        }
        there = set(repo.cloud.get_remote_odb(remote).oids_exist(set().union(*objects.values())))
        return {name for name, wanted in objects.items() if not wanted <= there}


def pruned_lock(root: Path, stages: Collection[str]) -> bytes:
    """`dvc.lock` without the entries of `stages`: DVC looks into the run cache only where the lock is silent."""
    if not (root / LOCK).is_file():
        return b""
    with modify_yaml(root / LOCK) as content:
        kept = {name: entry for name, entry in content["stages"].items() if name not in stages}
        content["stages"] = kept
    return (root / LOCK).read_bytes() if kept else b""


def reproduce(root: Path, remote: str, stages: Sequence[str]) -> None:
    """`dvc repro --pull` of the stages.

    Raises:
        PipelineError: a stage failed.
    """
    with opened(root, remote) as repo:
        repo.reproduce(list(stages), pull=True)


@contextlib.contextmanager
def ray_session(workers: int, threads: int) -> Iterator[ModuleType]:
    """Ray: the session that is open, else the cluster of `RAY_ADDRESS`, else one embedded in this process.

    Raises:
        ClusterError: Ray is not installed, no cluster answers, or none of its nodes has `threads` CPUs.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Without it the stage that a killed worker had started would go on beside its second run.
    os.environ.setdefault("RAY_process_group_cleanup_enabled", "1")
    try:
        import ray
    except ImportError:
        wanted = "pip install 'defuse[cluster]', or make .venv/installed-cluster"
        raise ClusterError(f"Ray is not installed: {wanted}") from None
    with contextlib.ExitStack() as stack:
        address = os.environ.get("RAY_ADDRESS")
        own: dict[str, Any] = {} if address else {"num_cpus": workers * threads, "include_dashboard": False}
        if not ray.is_initialized():
            try:
                ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
            except (ConnectionError, ray.exceptions.AuthenticationError) as error:
                reason = "no Ray cluster answers there, or RAY_AUTH_MODE and the token differ from the cluster's"
                raise ClusterError(f"RAY_ADDRESS={address}: {reason}: {error}") from None
            stack.callback(ray.shutdown)
        if not any(node["Alive"] and node["Resources"].get("CPU", 0) >= threads for node in ray.nodes()):
            raise ClusterError(f"compute.threads: {threads}; no node of the cluster has that many CPUs")
        yield ray


def run_units(
    ray: ModuleType, units: Sequence[Unit], source: Source, *, workers: int, threads: int, gpu: bool
) -> dict[str, str]:
    """Run every unit, at most `workers` at once; the reason of each that failed or was skipped."""
    # By value, so that a node's own installation of this package need not have this module.
    ray.cloudpickle.register_pickle_by_value(worker)
    gpus = 1 if gpu and ray.cluster_resources().get("GPU") else 0
    task = ray.remote(run_unit).options(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)
    waiting, done = list(units), set[str]()
    running: dict[Any, Unit] = {}
    failed: dict[str, str] = {}
    while waiting or running:
        for unit in list(waiting):
            missing = [name for name in unit.after if name in failed]
            if missing:
                failed[unit.name] = f"skipped, since it needs {', '.join(missing)}"
                waiting.remove(unit)
            elif len(running) < workers and done.issuperset(unit.after):
                logger.info("%s: started (stages: %d)", unit.name, len(unit.stages))
                running[task.remote(unit.name, unit.stages, source, threads)] = unit
                waiting.remove(unit)
        if not running:
            continue
        (reference,), _ = ray.wait(list(running))
        unit = running.pop(reference)
        try:
            outcome = ray.get(reference)
        except ray.exceptions.RayError as error:
            outcome = Outcome(unit.name, "unknown", 0.0, {}, str(error), f"{type(error).__name__}, {RETRIES} retries")
        if outcome.error:
            failed[unit.name] = outcome.error
            logger.error("%s: failed on %s: %s\n%s", unit.name, outcome.host, outcome.error, outcome.log)
        else:
            done.add(unit.name)
            ran = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in outcome.stage_seconds.items())
            logger.info(
                "%s: done on %s in %.1f s (%s)", unit.name, outcome.host, outcome.seconds, ran or "all restored"
            )
    return failed


def replicate_on_cluster(
    root: Path,
    targets: list[str],
    *,
    workers: int,
    threads: int,
    gpu: bool = False,
    remote: str | None = None,
    repository: str | None = None,
) -> dict[str, str]:
    """Run the cells that the targets (`pipeline.TARGETS`) need on Ray's workers, then gather here.

    Args:
        root: a git and DVC repository; ends with the `dvc.lock` and outputs that `replication.replicate` would leave.
        targets: as `pipeline.TARGETS` says; none for everything.
        workers: units that run at once.
        threads: CPU threads of a unit.
        gpu: ask for one GPU per unit where the cluster has any.
        remote: DVC remote that carries outputs and run cache; the default remote if None.
        repository: what workers clone; `origin`, or `root` without one, if None.

    Returns:
        The reason of each unit that failed or was skipped. What needs none of them is done all the same.

    Raises:
        ClusterError: the run cannot start.
        PipelineError: a target that selects nothing, or a stage on the head that failed.
        ReplicationError: another replication runs in this folder.
    """
    if workers < 1:
        raise ClusterError(f"workers: {workers}; allowed: 1 or more")
    root = root.resolve()
    everything = stage_graph(root)
    graph = with_needs(everything, targets)
    work = plan(graph)
    source = checked_source(root, remote, repository)
    shared = {*work.first, *(stage for unit in work.units for stage in unit.stages)}
    with only_replication(root):
        committed = (root / LOCK).read_bytes() if (root / LOCK).is_file() else b""
        with ray_session(workers, threads) as ray, contextlib.ExitStack() as interrupted:
            # Whoever interrupts the run before cells are gathered finds the lock as it was.
            interrupted.callback(put_lock, root, committed)
            lock = pruned_lock(root, push_finished(root, source.remote, shared))
            put_lock(root, lock)
            if work.first:
                reproduce(root, source.remote, work.first)
                push_finished(root, source.remote, work.first)
            failed = run_units(ray, work.units, replace(source, lock=lock), workers=workers, threads=threads, gpu=gpu)
            interrupted.pop_all()
        put_lock(root, lock)
        lost = {stage for unit in work.units if unit.name in failed for stage in unit.stages}
        unreached = with_dependents(graph, lost)
        try:
            if reached := [stage for stage in graph if stage not in unreached]:
                reproduce(root, source.remote, reached)
        finally:
            order_lock(root, list(everything))
    return failed
