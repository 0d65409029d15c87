"""Read a data set, check it, split validation from training, and write the one array format."""

import os
from pathlib import Path

from defuse.core.errors import DataError
from defuse.core.params import Settings
from defuse.core.random_streams import integer_seed
from defuse.core.storage import save_arrays, write_json
from defuse.data.sources import check_source, provenance_of, read_digits, read_mirror, read_torchvision
from defuse.data.splits import prepare_arrays, split_validation
from experiments.shared.cell import data_file, dataset_command


def prepare(settings: Settings, dataset: str) -> str:
    chosen = settings.prepare[dataset]
    mirror, origin = os.environ.get("DEFUSE_DATA_DIR"), ""
    if dataset == "digits":
        source = read_digits(chosen.test_fraction, integer_seed(0, "prepare", dataset, "test"))
    elif mirror:
        path = Path(mirror) / f"{dataset}.npz"
        if not path.is_file():
            raise DataError(f"DEFUSE_DATA_DIR is set, but {path} does not exist; unset it to download instead")
        source, origin = read_mirror(path), f"{path}: "
    else:
        source = read_torchvision(dataset, Path("data"))
    try:
        check_source(source, dataset)
    except DataError as error:
        raise DataError(f"{origin}{error}") from error
    seed = integer_seed(0, "prepare", dataset, "validation")
    arrays = prepare_arrays(source, split_validation(source, chosen.validation_fraction, seed))
    provenance = provenance_of(source, dataset)
    save_arrays(data_file(dataset), **arrays)
    write_json(data_file(dataset).with_name("provenance.json"), provenance)
    return provenance["line"]


if __name__ == "__main__":
    dataset_command("prepare", prepare, __doc__)
