"""Gather a data set's cells into small tables, and the data behind its figures, in results/."""

import shutil

import pandas as pd

from defuse.core.params import Settings
from defuse.core.storage import read_table, save_arrays, write_json, write_table
from defuse.evidence.results import provenance, result_path
from defuse.evidence.tables import (
    accepted_region_measures,
    check_cells,
    gather_measures,
    gather_table,
    outcome_measures,
    over_seeds,
    planted_measures,
    rival_measures,
    table_measures,
)
from experiments.shared.cell import RESULTS, dataset_command
from experiments.shared.cell_tables import TABLES
from experiments.shared.shown_data import shown_data

# Tables whose every number becomes a measure: what the arms are, and the columns that name an arm.
ARMS = {
    "noise": ("noise", "noise"),
    "causes": ("cause", "cause"),
    "searches": ("search", "search"),
    "vaes": ("VAE", "vae"),
    "taus": ("tau", "tau"),
    "mixtures": ("mixture", "components", "concentration_prior"),
    "rivals": ("rival", "arm"),
}
HEADLINES = (
    "train_classifier.test_accuracy",
    "identify.reconstruction_accuracy_of_correct",
    "identify.mistakes",
    "distill.regions",
    "annotate.accepted_regions",
    "outcome.test_before",
    "outcome.test_after_correction",
    "outcome.region_test_before",
    "outcome.region_test_after_correction",
    "outcome.test_after_baseline",
    "outcome.region_test_after_baseline",
    "novelty.unlike_neighbour",
    "plant_bugs.found",
    "plant_bugs.found_in_control",
)


def summarize(settings: Settings, dataset: str) -> str:
    seeds, cells, tables = list(settings.seeds), RESULTS / dataset / "cells", RESULTS / dataset / "tables"
    about = check_cells(cells, seeds)
    shutil.rmtree(tables, ignore_errors=True)
    write_json(tables / "provenance.json", about)

    gathered = {name: gather_table(cells, seeds, f"{name}.csv", *columns) for name, (_, _, *columns) in TABLES.items()}
    measures = pd.concat(
        [
            gather_measures(cells, seeds),
            outcome_measures(gathered["lambda_sweep"], gathered["baseline"]),
            accepted_region_measures(gathered["regions"]),
            planted_measures(gathered["planted"]),
            rival_measures(gathered["rivals"]),
            *(table_measures(gathered[name], *keys) for name, keys in ARMS.items()),
        ],
        ignore_index=True,
    )
    means = over_seeds(measures, ["stage", "measure"], "value")
    for name, table in {**gathered, "measures": measures, "means": means}.items():
        write_table(result_path(tables, f"{name}.csv"), table)
    # The oracles are the data set's, the same in each cell.
    write_table(result_path(tables, "oracles.csv"), read_table(result_path(cells / str(seeds[0]), "oracles.csv")))
    by_name = {f"{row.stage}.{row.measure}": row.mean for row in means.itertuples(index=False)}
    write_json(
        RESULTS / dataset / "metrics.json",
        {
            "data": provenance(tables)["title"],
            **{name: by_name.get(name) for name in HEADLINES},
        },
    )

    figures = shown_data(settings, dataset)
    for name, arrays in figures.items():
        save_arrays(result_path(tables, f"{name}.npz"), **arrays)
    accepted = int((gathered["regions"].verdict == "accepted").sum())
    return (
        f"{len(gathered) + 3} tables and {len(figures)} figures' data of {len(seeds)} seed(s) in {tables}; "
        f"{accepted} accepted regions"
    )


if __name__ == "__main__":
    dataset_command("summarize", summarize, __doc__)
