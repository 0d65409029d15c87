"""Gather a data set's cells into small tables, and the data behind its figures, in results/."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from defuse.core.storage import save_arrays, write_json, write_table
from defuse.core.verdicts import RegionVerdict
from defuse.evidence.machines import machines_of_cells, precision_sentence, with_machines
from defuse.evidence.results import result_path
from defuse.evidence.tables import (
    ARMS,
    HEADLINES,
    accepted_region_measures,
    check_cells,
    check_unique,
    gather_measures,
    gather_table,
    outcome_measures,
    over_seeds,
    planted_measures,
    reading_measures,
    rival_measures,
    table_measures,
)
from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command
from experiments.shared.kept_tables import CHAIN_TABLES, STUDY_TABLES, Tables


def gathered_tables(folder: Path, seeds: Sequence[int], kept: Tables) -> dict[str, pd.DataFrame]:
    """The tables of all seeds, by name."""
    return {name: gather_table(folder, seeds, f"{name}.csv", *columns) for name, (_, _, *columns) in kept.items()}


def summarize(cell: Cell) -> str:
    """Write the tables of all seeds, their medians, and the data of the figures."""
    seeds, study_seeds, tables = cell.settings.seeds, cell.settings.study_seeds, cell.tables
    cells, studies = (tables.with_name(name) for name in ("cells", "studies"))
    about = check_cells(cells, seeds)
    if study_seeds:
        check_cells(studies, study_seeds, about)
    shutil.rmtree(tables, ignore_errors=True)
    machines = machines_of_cells((cells, studies), seeds)
    write_json(tables / "provenance.json", with_machines(about, machines))

    gathered = gathered_tables(cells, seeds, CHAIN_TABLES)
    gathered["oracles"] = gather_table(cells, seeds, "oracles.csv")
    measures = [
        gather_measures(cells, seeds),
        outcome_measures(gathered["lambda_sweep"], gathered["baseline"]),
        accepted_region_measures(gathered["regions"]),
    ]
    if study_seeds:  # the demonstration has none
        gathered |= gathered_tables(studies, study_seeds, STUDY_TABLES)
        gathered["checker_curve"] = gather_table(studies, study_seeds, "checker_curve.csv")
        measures += [
            gather_measures(studies, study_seeds),
            planted_measures(gathered["planted"]),
            rival_measures(gathered["rivals"]),
            reading_measures(gathered["readings"], gathered["rivals"]),
        ]
    measures += [table_measures(gathered[name], *keys) for name, keys in ARMS.items() if name in gathered]
    table = pd.concat(measures, ignore_index=True)
    check_unique(table)
    medians = over_seeds(table)
    for name, content in {**gathered, "measures": table, "medians": medians}.items():
        write_table(result_path(tables, f"{name}.csv"), content)
    by_name = {f"{row.stage}.{row.measure}": row.median for row in medians.itertuples(index=False)}
    headlines = {name: by_name[name] for name in HEADLINES if name in by_name}
    write_json(tables.with_name("metrics.json"), {"data": about["title"], **headlines})

    from experiments.shared.shown_data import shown_data  # it brings torch, which the tables do without

    figures = shown_data(cell)
    for name, arrays in figures.items():
        save_arrays(result_path(tables, f"{name}.npz"), **arrays)
    precision = precision_sentence(machines) or "a precision that was not recorded"
    accepted = int((gathered["regions"].verdict == RegionVerdict.ACCEPTED).sum())
    written = len(gathered) + 2
    return (
        f"{written} tables and {len(figures)} figures' data of {len(seeds)} seed(s) in {tables}; "
        f"{accepted} accepted regions; computed in {precision}"
    )


if __name__ == "__main__":
    dataset_command("summarize", summarize, __doc__)
