"""Run the cells of the replication side by side on this machine (`make replicate`); no DVC stage."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from defuse.params import ParamsError, Settings, load_params
from defuse.pipeline import PipelineError, not_up_to_date, order_lock, stage_graph, with_needs
from defuse.progress import record_seconds, say_closing, say_line, shown_attempts
from defuse.replication import ReplicationError, collected_signals, jobs_at_once, only_replication, run_stages
from experiments.cell import ARTIFACTS, PARAMS

ROOT = Path()


def replicate(console: Console, settings: Settings, targets: list[str], asked_jobs: str) -> int:
    """Bring the targets up to date; the exit status."""
    jobs, sentence = jobs_at_once(asked_jobs, settings.compute)
    with only_replication(ROOT):
        everything = stage_graph(ROOT)
        asked = with_needs(everything, targets)
        waiting = not_up_to_date(ROOT, asked)
        say_line(console, f"{len(asked)} stages, {len(asked) - len(waiting)} of them up to date. {sentence}")
        start = time.monotonic()
        with collected_signals() as received:
            with shown_attempts(console, len(waiting)) as show:
                attempts = run_stages(ROOT, waiting, jobs, settings.compute.threads, received, show)
            order_lock(ROOT, list(everything))
            record_seconds(ARTIFACTS / "stage-seconds.csv", attempts)
        if waiting:
            say_closing(console, ROOT, waiting, attempts, time.monotonic() - start)
    return 128 + received[0] if received else int(any(attempt.result == "failed" for attempt in attempts.values()))


TARGETS = ("data sets (mnist), cells (mnist-0), stages (identify) or stages of a cell (identify@mnist-0), with all "
           "that they need; default: everything")  # fmt: skip
JOBS = "stages at once: a number, or auto for as many as cores and memory allow"


def command(
    targets: Annotated[list[str] | None, typer.Argument(help=TARGETS)] = None,
    jobs: Annotated[str, typer.Option(help=JOBS)] = "auto",
) -> None:
    try:
        status = replicate(Console(), load_params(PARAMS), targets or [], jobs)
    except (ParamsError, PipelineError, ReplicationError) as error:
        raise SystemExit(f"replicate: {error}") from None
    raise SystemExit(status)


if __name__ == "__main__":
    command.__doc__ = __doc__
    typer.run(command)
