"""What a worker does with a unit: clone the repository, restore from the run cache, run the stages, push."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.config import Config

LOCK = "dvc.lock"
LOG_LINES = 30
STAGE_LINE = re.compile(r"(?P<how>Running stage|Stage) '(?P<name>[^']+)'")


@dataclass(frozen=True)
class Source:
    """What a worker clones, and the remote that it pulls from and pushes to."""

    url: str
    commit: str
    remote: str
    remote_config: dict[str, Any]
    lock: bytes


@dataclass(frozen=True)
class Outcome:
    """How a unit ended: seconds in all, and per stage that ran (not restored); `error` is empty on success."""

    unit: str
    host: str
    seconds: float
    stage_seconds: dict[str, float]
    log: str
    error: str = ""


def logged(command: Sequence[str], folder: Path, environment: dict[str, str], log: list[tuple[float, str]]) -> str:
    """Run a command, append its lines to `log` with their times in seconds; what went wrong, empty if nothing did."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        log.extend((time.perf_counter(), line.rstrip()) for line in process.stdout)
    return f"{' '.join(command)} ended with {process.returncode}" if process.returncode else ""


def seconds_per_stage(log: Sequence[tuple[float, str]], end: float) -> dict[str, float]:
    """Seconds of each stage that DVC ran, from the times of its lines in `log` and the time of the end."""
    marks = [(moment, match) for moment, line in log if (match := STAGE_LINE.match(line))]
    ends = [moment for moment, _ in marks[1:]] + [end]
    return {
        match["name"]: round(stop - moment, 2)
        for (moment, match), stop in zip(marks, ends)
        if match["how"] == "Running stage"
    }


def pinned_threads(threads: int) -> dict[str, str]:
    """Environment of a process that takes so many CPU threads, and whose idle ones sleep instead of spinning."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), "OMP_WAIT_POLICY": "PASSIVE"}


def run_unit(unit: str, stages: Sequence[str], source: Source, threads: int) -> Outcome:
    """Clone, restore what the unit needs from the run cache, run its stages on `threads` CPU threads, push."""
    start = time.perf_counter()
    log: list[tuple[float, str]] = []
    ran: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="defuse-") as folder:
        clone = Path(folder) / "clone"
        environment = {
            **os.environ,
            **pinned_threads(threads),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "DVC_SITE_CACHE_DIR": str(Path(folder) / "site"),
            "DVC_NO_ANALYTICS": "1",
            "PYTHONIOENCODING": "utf-8:backslashreplace",
            # Before the installed code, with PYTHONSAFEPATH too.
            "PYTHONPATH": os.pathsep.join(filter(None, [str(clone), os.environ.get("PYTHONPATH")])),
        }
        clone_it = ["git", "clone", "--quiet", "--no-checkout", source.url, str(clone)]
        error = logged(clone_it, Path(folder), environment, log)
        error = error or logged(["git", "checkout", "--quiet", "--detach", source.commit], clone, environment, log)
        if not error:
            with Config(str(clone / ".dvc")).edit("local") as config:
                config["remote"][source.remote] = source.remote_config
                config["core"]["remote"] = source.remote
            put_lock(clone, source.lock)
            error = logged([sys.executable, "-m", "dvc", "repro", "--pull", *stages], clone, environment, log)
            ran = seconds_per_stage(log, time.perf_counter())
            # After a failure too: the stages that ended before it need not run again next time.
            push = [sys.executable, "-m", "dvc", "push", "--run-cache", *stages]
            not_pushed = logged(push, clone, environment, log)
            error = error or not_pushed
    tail = "\n".join(line for _, line in log[-LOG_LINES:])
    return Outcome(unit, socket.gethostname(), time.perf_counter() - start, ran, tail, error)


def put_lock(root: Path, content: bytes) -> None:
    """Make `content` the repository's `dvc.lock`; no content, no file."""
    if content:
        (root / LOCK).write_bytes(content)
    else:
        (root / LOCK).unlink(missing_ok=True)
