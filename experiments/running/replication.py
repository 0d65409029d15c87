"""Stages side by side on one machine: each runs as a `dvc repro` of its own, as soon as what it needs is done."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path

import joblib
import psutil
from rich.console import Console

from defuse.core.errors import ReplicationError
from defuse.core.params import Compute
from experiments.running.lock_file import order_lock, shorten_lock
from experiments.running.pipeline import Graph, graph_of, not_up_to_date, opened, starting_order, with_needs
from experiments.running.progress import Attempt, Attempts, record_seconds, say_closing, say_line, shown_attempts
from experiments.running.worker import pinned_threads

STAGE_BYTES = 3 * 2**30  # memory that a stage is taken to need
GPU_STAGE_BYTES = 4 * 2**30  # the same on a GPU
GPU_JOBS = 4  # stages at once that hardly slowed each other on one GPU (docs/gpu.md)
POLL_SECONDS = 0.1
RUNNER_MARK = "DEFUSE_REPLICATION_OF"  # environment variable of what a runner starts: its folder
SHORTEN_AFTER = 20  # stages that ran, by whose entries `dvc.lock` has grown
GRACE_SECONDS = 20  # between the interrupt of a stage and its end by force


def auto_jobs(cores: int, threads: int, free_bytes: int, gpu_bytes: int | None) -> int:
    """Stages at once that neither share a core nor fill the memory, nor that of the GPU, if they share one."""
    fitting = min(cores // threads, free_bytes // STAGE_BYTES)
    if gpu_bytes is not None:
        fitting = min(fitting, GPU_JOBS, gpu_bytes // GPU_STAGE_BYTES)
    return max(1, fitting)


def check_jobs(asked: str) -> None:
    """Check a number of stages at once as it was asked for.

    Raises:
        ReplicationError: `asked` is neither "auto" nor a whole number from 1.
    """
    if asked != "auto" and not (asked.isascii() and asked.isdigit() and int(asked) >= 1):
        raise ReplicationError(f"jobs {asked!r} is not allowed; allowed: auto, or a whole number from 1")


def jobs_at_once(asked: str, compute: Compute) -> tuple[int, str]:
    """How many stages run at once, and a sentence that gives the reason, with a warning if these are too many.

    Raises:
        ReplicationError: `asked` is neither "auto" nor a whole number from 1.
    """
    check_jobs(asked)
    import torch  # to ask for a GPU; whoever has nothing to run does not wait for it

    cores, free_bytes = joblib.cpu_count(), psutil.virtual_memory().available
    on_gpu = compute.device != "cpu" and torch.cuda.is_available()
    gpu_bytes = torch.cuda.get_device_properties(0).total_memory if on_gpu else None
    suitable = auto_jobs(cores, compute.threads, free_bytes, gpu_bytes)
    jobs = suitable if asked == "auto" else int(asked)
    sentence = (
        f"Stages at once: {jobs} (usable cores: {cores}, compute.threads: {compute.threads}, "
        f"free memory: {free_bytes / 2**30:.0f} GiB{f', one GPU of {gpu_bytes / 2**30:.0f} GiB' if gpu_bytes else ''})."
    )
    if jobs > suitable:
        sentence += (
            f" Warning: auto would take {suitable}. More stages share cores or a GPU, so that each takes longer; "
            f"they may need {jobs * STAGE_BYTES / 2**30:.0f} GiB of memory."
        )
    return jobs, sentence


@contextmanager
def only_replication(root: Path) -> Iterator[None]:
    """Hold a lock file, which the system lets go however the process ends.

    Raises:
        ReplicationError: another replication runs in this folder, or nothing can be written there.
    """
    path = root / "artifacts" / "replicate.lock"
    try:
        path.parent.mkdir(exist_ok=True)
        opened_file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise ReplicationError(f"{path}: cannot be written: {error.strerror}") from None
    with opened_file as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ReplicationError(
                f"a replication is already running in this folder, as process {file.read()}; "
                "wait until it ends, or end it with Ctrl-C"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and, unless nohup ignores it, SIGHUP, instead of ending at once."""
    received: list[int] = []
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_orphans(root: Path) -> int:
    """End the processes that a killed runner of this folder left: they hold DVC's locks and write outputs; how many.

    The commands of the stages are interrupted, so that DVC writes `dvc.lock` and its lock files to their ends; what
    still runs after `GRACE_SECONDS` is killed. To be called while `only_replication` holds, so that none belongs to a
    runner.
    """
    found: set[psutil.Process] = set()
    deadline = time.monotonic() + GRACE_SECONDS
    while running := orphans(root):
        for process in running:
            try:
                if time.monotonic() > deadline:
                    process.kill()
                elif process not in found and "--wait-for-lock" not in process.cmdline():
                    process.send_signal(signal.SIGINT)
            except psutil.NoSuchProcess:
                continue
        found.update(running)
        time.sleep(POLL_SECONDS)
    return len(found)


def orphans(root: Path) -> list[psutil.Process]:
    """The running processes that bear the mark of a runner of this folder."""
    marked = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(RUNNER_MARK) == str(root.resolve()) and process.status() != psutil.STATUS_ZOMBIE:
                marked.append(process)
        except (psutil.Error, OSError):  # it is another user's, or has just ended
            continue
    return marked


def delete_damaged_rwlock(root: Path) -> bool:
    """Delete DVC's table of who reads and writes what if a kill cut its writing off: DVC refuses to work with it.

    To be called when no stage of the folder runs; whether there was one to delete.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(path.read_bytes() if path.exists() else b"{}")
    except ValueError:
        path.unlink()
        return True
    return False


def start_stage(root: Path, stage: str, threads: int) -> Attempt:
    """Start a stage in a process group of its own, its output in `artifacts/logs/STAGE.log`."""
    # Without --single-item DVC also locks the outputs of the stages before it, which other cells are reading.
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
    own = {RUNNER_MARK: str(root.resolve()), "PYTHONIOENCODING": "utf-8:backslashreplace"}
    environment = {**os.environ, **pinned_threads(threads), **own}
    log = root / "artifacts" / "logs" / f"{stage}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Attempt(process, log, time.monotonic())


def has_ended(stage: str, attempt: Attempt) -> bool:
    """Whether the process is over; then `seconds` and `result` are filled in."""
    code = attempt.process.poll()
    if code is None:
        return False
    attempt.seconds = time.monotonic() - attempt.start
    ran = f"Running stage '{stage}'" in attempt.log.read_text(encoding="utf-8", errors="replace")
    attempt.result = "failed" if code else "ran" if ran else "unchanged"
    return True


def interrupt(attempts: Attempts) -> None:
    """Interrupt the commands of running stages; DVC itself may then let go of its locks, unless it takes too long."""
    running, signalled, deadline = dict(attempts), set(), time.monotonic() + GRACE_SECONDS
    while running := {stage: attempt for stage, attempt in running.items() if not has_ended(stage, attempt)}:
        for attempt in running.values():
            if time.monotonic() > deadline:
                os.killpg(attempt.process.pid, signal.SIGKILL)
                continue
            try:
                for command in psutil.Process(attempt.process.pid).children(recursive=True):
                    if command.pid not in signalled:
                        signalled.add(command.pid)
                        command.send_signal(signal.SIGINT)
            except psutil.NoSuchProcess:
                continue
        time.sleep(POLL_SECONDS)
    for attempt in attempts.values():
        if attempt.result == "failed":
            attempt.result = "interrupted"


def run_stages(
    root: Path, graph: Graph, jobs: int, threads: int, received: list[int], show: Callable[[Attempts], None]
) -> Attempts:
    """Run the stages of `graph`, at most `jobs` at once, until none can start; go on past failures.

    Args:
        root: the repository.
        graph: stages by what they need.
        jobs: stages at once.
        threads: CPU threads of each stage.
        received: signals so far; the first one ends the running stages.
        show: called with all attempts, in the order of their starts, after each look at the processes.
    """
    attempts: Attempts = {}
    places = {stage: place for place, stage in enumerate(starting_order(graph))}
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    ready: list[str] = []
    running: list[str] = []
    written = SHORTEN_AFTER if len(graph) > 2 else 0  # a lock of an earlier run is long; two stages are soon done
    try:
        while not received:
            ready = sorted([*ready, *sorter.get_ready()], key=places.__getitem__)
            while ready and len(running) < jobs:
                stage = ready.pop(0)
                attempts[stage] = start_stage(root, stage, threads)
                running.append(stage)
            show(attempts)
            if not running:
                break
            time.sleep(POLL_SECONDS)
            ended = [stage for stage in running if has_ended(stage, attempts[stage])]
            written += len(ended)
            if written >= SHORTEN_AFTER:
                shorten_lock(root)
                written = 0
            running = [stage for stage in running if stage not in ended]
            sorter.done(*(stage for stage in ended if attempts[stage].result != "failed"))
    finally:
        interrupt({stage: attempts[stage] for stage in running})
    show(attempts)
    return attempts


def replicate(console: Console, root: Path, compute: Compute, targets: list[str], asked_jobs: str) -> int:
    """Bring the targets (`pipeline.TARGETS`) up to date, several stages at once; the exit status.

    Raises:
        ReplicationError: a number of jobs that is not allowed, or a folder where another replication runs.
        PipelineError: a target that selects nothing, or a repository that DVC cannot read.
    """
    check_jobs(asked_jobs)
    with only_replication(root):
        ended = end_orphans(root)
        if ended:
            say_line(console, f"Ended {ended} processes that a killed replication left.")
        if delete_damaged_rwlock(root):
            say_line(console, "Deleted .dvc/tmp/rwlock, which a killed run left half written.")
        with opened(root) as repo:
            everything = graph_of(repo)
            asked = with_needs(everything, targets)
            waiting = not_up_to_date(repo, asked)
        counted = f"{len(asked)} stages, {len(asked) - len(waiting)} of them up to date."
        if not waiting:
            say_line(console, counted)
            order_lock(root, list(everything))
            return 0
        jobs, sentence = jobs_at_once(asked_jobs, compute)
        say_line(console, f"{counted} {sentence}")
        start = time.monotonic()
        with collected_signals() as received:
            with shown_attempts(console, len(waiting)) as show:
                attempts = run_stages(root, waiting, jobs, compute.threads, received, show)
            order_lock(root, list(everything))
            record_seconds(root / "artifacts" / "stage-seconds.csv", attempts)
        say_closing(console, root, waiting, attempts, time.monotonic() - start)
    return 128 + received[0] if received else int(any(attempt.result == "failed" for attempt in attempts.values()))
