"""The files of `results/`: their names carry what the data are, so that a subset never passes for the whole."""

from pathlib import Path

from defuse.storage import read_json


def provenance(tables: Path) -> dict[str, object]:
    """What a data set's tables were made from; `line` is shown on every figure.

    Raises:
        StorageError: the folder holds no provenance: the stage summarize has not run.
    """
    return read_json(tables / "provenance.json")


def result_path(tables: Path, name: str) -> Path:
    """Path of a result file, for example `lambda_sweep.csv` -> `.../svhn_greyscale_subset_lambda_sweep.csv`."""
    return tables / f"{provenance(tables)['slug']}_{name}"
