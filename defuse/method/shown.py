"""What annotators are shown: a file between the search and the votes, the same for networks, slips and people."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from defuse.core.errors import DataError, StorageError
from defuse.core.storage import load_arrays, save_arrays

NOT_RECOGNISABLE = "not recognisable"
SEVERAL_CLASSES = "several classes"


@dataclass(frozen=True)
class Shown:
    """Images of regions, and the classes that an annotator may name. No prediction is among it.

    Attributes:
        numbers: the regions' numbers, in the order of showing.
        images: of each region uint8 (shown, height, width, channels), at least one.
        class_names: by label.
    """

    numbers: Int64[np.ndarray, "regions"]
    images: list[np.ndarray]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check the names of the classes.

        Raises:
            DataError: a name that is empty, there twice, or an answer of its own.
        """
        for name in self.class_names:
            if not name.strip() or name != name.strip() or self.class_names.count(name) > 1:
                raise DataError(f"class name {name!r}; allowed: names without blanks around them, each once")
            if name in (NOT_RECOGNISABLE, SEVERAL_CLASSES):
                raise DataError(f"class name {name!r}; allowed: all but the two answers that name no class")

    @property
    def run(self) -> str:
        """Twelve hex digits that tell what was shown: votes belong to it."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for number, images in zip(self.numbers, self.images):
            digest.update(f"\n{number} {images.shape} ".encode() + images.tobytes())
        return digest.hexdigest()[:12]


def save_shown(path: Path, shown: Shown) -> None:
    """Write what is shown as `.npz`."""
    stacked = np.concatenate(shown.images) if shown.images else np.zeros((0, 1, 1, 1), np.uint8)
    save_arrays(
        path,
        region=shown.numbers,
        count=np.array([len(images) for images in shown.images], np.int64),
        images=stacked,
        class_names=np.array(shown.class_names, np.str_),
    )


def load_shown(path: Path) -> Shown:
    """Read what `save_shown` wrote.

    Raises:
        StorageError: a file that is missing or damaged, or whose counts do not add up; names that `Shown` refuses.
    """
    kinds = {"region": "i", "count": "i", "images": "u", "class_names": "U"}
    arrays = load_arrays(path, *kinds)
    for name, kind in kinds.items():
        if arrays[name].dtype.kind != kind or arrays[name].ndim != (4 if name == "images" else 1):
            allowed = "region and count int64, one row each, images uint8 (N, H, W, C), class_names strings"
            raise StorageError(f"{path}: {name} is {arrays[name].dtype} {arrays[name].shape}; allowed: {allowed}")
    if len(arrays["region"]) != len(arrays["count"]) or arrays["count"].sum() != len(arrays["images"]):
        raise StorageError(f"{path}: counts do not add up to its {len(arrays['images'])} images")
    ends = np.cumsum(arrays["count"])
    images = [arrays["images"][end - count : end] for end, count in zip(ends, arrays["count"])]
    try:
        return Shown(arrays["region"], images, tuple(arrays["class_names"].tolist()))
    except DataError as error:
        raise StorageError(f"{path}: {error}") from error
