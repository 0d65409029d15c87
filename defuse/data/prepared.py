"""The prepared data: one array format, with a validation split, of everything later."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from defuse.core.errors import DataError
from defuse.core.storage import load_arrays
from defuse.data.formats import CLASSES, SIDE
from defuse.data.pixels import from_bytes

# Images in [0, 1], or as bytes, with their labels; two pairs differ in their number of images.
Labelled = tuple[
    Float32[Tensor, "_images channels height width"] | UInt8[Tensor, "_images channels height width"],
    Int64[Tensor, "_images"],
]


def load_split(path: Path, split: str) -> tuple[Float32[Tensor, "images channels 32 32"], Int64[Tensor, "images"]]:
    """Images in [0, 1] and labels of a split.

    Args:
        path: written by the stage prepare, in a folder named by the data set.
        split: `train`, `validation` or `test`.

    Raises:
        StorageError: the file is missing or damaged.
        DataError: its arrays are not what `prepare_arrays` gives, or a label is beyond the data set's classes.
    """
    images, labels = load_arrays(path, f"x_{split}", f"y_{split}").values()
    if images.dtype != np.uint8 or images.shape[1:] not in ((SIDE, SIDE, 1), (SIDE, SIDE, 3)) or len(images) == 0:
        raise DataError(f"{path}: x_{split} is {images.dtype} {images.shape}; allowed: uint8 (N, 32, 32, 1 or 3)")
    if labels.dtype != np.int64 or labels.shape != (len(images),):
        raise DataError(f"{path}: y_{split} is {labels.dtype} {labels.shape}; allowed: int64 ({len(images)},)")
    highest = CLASSES.get(path.parent.name, int(labels.max()) + 1) - 1
    if labels.min() < 0 or labels.max() > highest:
        raise DataError(f"{path}: y_{split} holds {labels.min()} to {labels.max()}; allowed: 0 to {highest}")
    return from_bytes(images), torch.from_numpy(labels)
