"""Seconds of each stage as `make replicate` recorded them on this machine, and what more seeds and jobs would cost."""

from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pandas as pd

from defuse.core.storage import read_table
from defuse.showing.report import markdown
from experiments.running.pipeline import Graph, stage_and_cell, stage_graph

STAGE_SECONDS = Path("artifacts/stage-seconds.csv")
SEEDS, JOBS = (1, 3, 5), (1, 2, 4, 8, 16)
AS_ASKED = "as in `params.yaml`"


def shares(table: pd.DataFrame) -> str:
    """Seconds and share of each stage in one cell, with what the cells of its data set share."""
    order, datasets = list(dict.fromkeys(table.stage)), list(dict.fromkeys(table.dataset))
    first = table.groupby(["stage", "dataset"]).seconds.first().unstack().reindex(order, columns=datasets)
    rows = [
        [
            stage,
            *(
                "–" if pd.isna(taken) else f"{taken:.0f} s ({taken / first[name].sum():.0%})"
                for name, taken in line.items()
            ),
        ]
        for stage, line in first.iterrows()
    ]
    rows.append(["sum", *(f"{first[name].sum() / 60:.1f} min" for name in datasets)])
    return markdown(["stage", *datasets], rows)


def longest_chain(graph: Graph, seconds: dict[str, float]) -> float:
    """Seconds of the longest chain of stages that need each other; without a time a stage takes none."""
    ends: dict[str, float] = {}
    for stage in TopologicalSorter(graph).static_order():
        ends[stage] = seconds.get(stage, 0.0) + max((ends[need] for need in graph[stage]), default=0.0)
    return max(ends.values(), default=0.0)


def estimate(table: pd.DataFrame, graph: Graph) -> str:
    """Hours of wall time for all data sets of the table, by seeds and jobs: work / jobs, at least the longest chain.

    The last row is of the cells and studies that the graph has.
    """
    per_seed = table[table.seed.notna()].drop_duplicates(["stage", "dataset"])
    shared = table[table.seed.isna()].seconds.sum()
    cells = Counter(stage_and_cell(stage)[:2] for stage in graph)
    asked = sum(row.seconds * cells[row.stage, row.dataset] for row in per_seed.itertuples())
    names = {(stage, dataset): seconds for stage, dataset, seconds in table[["stage", "dataset", "seconds"]].values}
    chain = longest_chain(graph, {stage: names.get(stage_and_cell(stage)[:2], 0.0) for stage in graph})
    rows = []
    for seeds, seconds in [*((str(count), count * per_seed.seconds.sum()) for count in SEEDS), (AS_ASKED, asked)]:
        work = shared + seconds
        rows.append([seeds, f"{work / 3600:.1f} h", *(f"{max(work / jobs, chain) / 3600:.1f} h" for jobs in JOBS)])
    return markdown(["seeds with studies", "work", *(f"{jobs} job{'s' if jobs > 1 else ''}" for jobs in JOBS)], rows)


def stage_seconds(recorded: Path) -> Iterator[str]:
    """(f) What each stage takes, and an estimate for a full replication with more seeds and jobs."""
    if not recorded.exists():
        yield f"No {recorded}: `make replicate` writes {STAGE_SECONDS} while it runs cells."
        return
    table = read_table(recorded).dropna(subset="dataset")
    yield shares(table)
    yield (
        "All of these data sets, estimated as work divided by jobs, at least the longest chain of "
        "stages; a job is a core like those here:"
    )
    yield estimate(table, stage_graph(Path()))
