"""What a replication shows while it runs and when it ends, and the seconds of stages that it records."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from defuse.core.storage import read_table, write_table
from experiments.running.pipeline import Graph, stage_and_cell, with_dependents

if TYPE_CHECKING:
    import pandas

LOG_LINES = 12
CELL = ["dataset", "seed"]


@dataclass
class Attempt:
    """One process of one stage.

    `seconds` is its wall time, DVC's own start and hashing included. `result` is "running", "ran", "unchanged" (DVC
    found nothing to do), "failed" or "interrupted".
    """

    process: subprocess.Popen
    log: Path
    start: float
    seconds: float = 0.0
    result: str = "running"


Attempts = dict[str, Attempt]


def of_result(attempts: Attempts, *results: str) -> list[str]:
    """Stages whose attempt has one of the results."""
    return [stage for stage, attempt in attempts.items() if attempt.result in results]


def cell_title(dataset: str | None, seed: int | None) -> str:
    """What a stage works on, for example "mnist seed 0", "mnist", or "all data sets"."""
    import pandas as pd

    if dataset is None or pd.isna(dataset):
        return "all data sets"
    return dataset if seed is None or pd.isna(seed) else f"{dataset} seed {seed}"


def running_table(attempts: Attempts, total: int) -> Table:
    """One line per running stage with its elapsed time, and one that counts."""
    failed = of_result(attempts, "failed")
    done = len(of_result(attempts, "ran", "unchanged"))
    table = Table.grid(padding=(0, 2))
    for stage in of_result(attempts, "running"):
        name, dataset, seed = stage_and_cell(stage)
        elapsed = timedelta(seconds=int(time.monotonic() - attempts[stage].start))
        table.add_row(cell_title(dataset, seed), name, str(elapsed))
    table.add_row(f"{done} of {total} done", f"{len(failed)} failed" if failed else "", ", ".join(failed))
    return table


@contextmanager
def shown_attempts(console: Console, total: int) -> Iterator[Callable[[Attempts], None]]:
    """A function that shows the attempts: lines that stay in place on a terminal, else one per start and end."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda attempts: live.update(running_table(attempts, total), refresh=True)
        return
    said: dict[str, str] = {}

    def say(attempts: Attempts) -> None:
        for stage, attempt in attempts.items():
            if attempt.result != said.get(stage):
                ended = "" if attempt.result == "running" else f" after {attempt.seconds:.1f} s"
                say_line(console, f"{stage}: {'started' if attempt.result == 'running' else attempt.result}{ended}")
                said[stage] = attempt.result

    yield say


def say_line(console: Console, line: str) -> None:
    """Print a line as it is, without rich's markup, colours and line breaks."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def stage_seconds(attempts: Attempts) -> "pandas.DataFrame":
    """Stage, data set, seed and seconds of each stage that ran; data set and seed are empty where a name has none."""
    import pandas as pd

    rows = [(*stage_and_cell(stage), attempts[stage].seconds) for stage in of_result(attempts, "ran")]
    return pd.DataFrame(rows, columns=["stage", *CELL, "seconds"]).astype({"seed": "Int64"})


def record_seconds(path: Path, attempts: Attempts) -> None:
    """Add the stages that ran to the table of seconds; the earlier row of a stage makes way."""
    import pandas as pd

    seconds = stage_seconds(attempts)
    if not seconds.empty:
        earlier = [read_table(path).astype({"seed": "Int64"})] if path.exists() else []
        seconds = pd.concat([*earlier, seconds]).drop_duplicates(["stage", *CELL], keep="last")
        write_table(path, seconds.sort_values(CELL, kind="stable", na_position="first"))


def seconds_table(attempts: Attempts) -> Table:
    """Seconds of each stage that ran and its share of its cell, cell by cell."""
    table = Table("cell", "stage", "seconds", "share")
    for cell, rows in stage_seconds(attempts).groupby(CELL, dropna=False):
        for stage, seconds in zip(rows.stage, rows.seconds):
            table.add_row(cell_title(*cell), stage, f"{seconds:.1f}", f"{seconds / rows.seconds.sum():.0%}")
        table.add_section()
    return table


def say_closing(console: Console, root: Path, graph: Graph, attempts: Attempts, wall_seconds: float) -> None:
    """What ran and for how long; then what failed, what waited for it, and what was interrupted."""
    ran, failed = of_result(attempts, "ran"), of_result(attempts, "failed")
    interrupted, unchanged = of_result(attempts, "interrupted"), of_result(attempts, "unchanged")
    if ran:
        console.print(seconds_table(attempts))
    stages_seconds = sum(attempt.seconds for attempt in attempts.values())
    say_line(
        console,
        f"{len(ran)} stages ran, {len(unchanged)} had nothing to do, {len(failed)} failed; wall time "
        f"{wall_seconds:.1f} s, sum over stages {stages_seconds:.1f} s",
    )
    for stage in failed:
        log = attempts[stage].log
        say_line(console, f"\nFailed: {stage}. The end of {log.relative_to(root)}:")
        for line in log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-LOG_LINES:]:
            say_line(console, f"    {line}")
    skipped = {
        stage: causes
        for stage in graph
        if stage not in attempts and (causes := [cause for cause in failed if stage in with_dependents(graph, {cause})])
    }
    for stage, causes in skipped.items():
        say_line(console, f"Skipped: {stage}, which needs {', '.join(causes)}")
    if interrupted or len(attempts) + len(skipped) < len(graph):
        say_line(
            console,
            f"Interrupted{': ' if interrupted else ''}{', '.join(interrupted)}. "
            "The next `make replicate` continues from here.",
        )
