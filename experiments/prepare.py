"""Read a data set, check it, split validation from training, and write the one array format."""

import os
from pathlib import Path

from defuse.core.errors import DataError
from defuse.core.storage import save_arrays, write_json
from defuse.data.sources import check_source, provenance_of, read_digits, read_mirror, read_torchvision
from defuse.data.splits import prepare_arrays, split_validation
from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command


def prepare(cell: Cell) -> str:
    """Write the prepared arrays and where they come from."""
    chosen = cell.params()
    mirror, origin = os.environ.get("DEFUSE_DATA_DIR"), ""
    if cell.dataset == "digits":
        source = read_digits(chosen.test_fraction, cell.streams.integer("test"))
    elif mirror:
        path = Path(mirror) / f"{cell.dataset}.npz"
        if not path.is_file():
            raise DataError(f"DEFUSE_DATA_DIR is set, but {path} does not exist; unset it to download instead")
        source, origin = read_mirror(path), f"{path}: "
    else:
        source = read_torchvision(cell.dataset, Path("data"))
    try:
        check_source(source, cell.dataset)
    except DataError as error:
        raise DataError(f"{origin}{error}") from error
    seed = cell.streams.integer("validation")
    arrays = prepare_arrays(source, split_validation(source, chosen.validation_fraction, seed))
    provenance = provenance_of(source, cell.dataset)
    save_arrays(cell.data_file, **arrays)
    write_json(cell.data_file.with_name("provenance.json"), provenance)
    return provenance["line"]


if __name__ == "__main__":
    dataset_command("prepare", prepare, __doc__)
