"""The files of `results/`: their names carry what the data are, so that a subset never passes for the whole."""

from pathlib import Path

import pandas as pd

from defuse.core.storage import read_json, read_table

BY_EYE = "by_eye.csv"  # in a data set's folder, beside its tables


def provenance(tables: Path) -> dict[str, object]:
    """What a data set's tables were made from; `line` is shown on every figure.

    Raises:
        StorageError: the folder holds no provenance: the stage summarize has not run.
    """
    return read_json(tables / "provenance.json")


def result_path(tables: Path, name: str) -> Path:
    """Path of a result file, for example `lambda_sweep.csv` -> `.../svhn_greyscale_subset_lambda_sweep.csv`."""
    return tables / f"{provenance(tables)['slug']}_{name}"


def measures_by_seed(tables: Path) -> dict[str, pd.Series]:
    """Values of every measure by `stage.measure`, in the table's order; each is indexed by its seeds, as in the params.

    NaN where a cell measured nothing; a measure of the studies has only the studies' seeds.

    Raises:
        StorageError: the table is missing or damaged.
    """
    table = read_table(result_path(tables, "measures.csv"), "seed", "stage", "measure", "value")
    values, names = table.set_index("seed").value.astype(float), table.stage + "." + table.measure
    measures = dict(iter(values.groupby(names.to_numpy(), sort=False)))
    places = {seed: place for place, seed in enumerate(seeds_of(measures))}

    def place(seeds: pd.Index) -> pd.Index:
        return seeds.map(lambda seed: places.get(seed, len(places)))

    return {name: values.sort_index(key=place, kind="stable") for name, values in measures.items()}


def seeds_of(measures: dict[str, pd.Series]) -> list[int]:
    """The seeds of the main chain, whose measures come first, in the order of the params; none without measures."""
    return next(iter(measures.values())).index.tolist() if measures else []


def of_first_study_seed(tables: Path, name: str) -> pd.DataFrame:
    """The rows of a table of the readings of the seed whose images figures show: the first of the studies'."""
    table, readings = (read_table(result_path(tables, file), "seed") for file in (name, "readings.csv"))
    return table[table.seed == readings.seed.iloc[0]]


def of_seed(tables: Path, name: str, seed: int) -> pd.DataFrame:
    """The rows of a table, such as `regions.csv`, of one seed."""
    table = read_table(result_path(tables, name), "seed")
    return table[table.seed == seed]


def of_first_seed(tables: Path, name: str) -> pd.DataFrame:
    """The same of the seed whose images figures show: the first of the params."""
    return of_seed(tables, name, seeds_of(measures_by_seed(tables))[0])
