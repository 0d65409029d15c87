"""Data sets: where they come from, how they are split, and the one array format of everything later."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from defuse.core.errors import DataError, StorageError
from defuse.core.storage import load_arrays
from defuse.data.formats import CLASSES, SIDE

TITLES = {"digits": "Digits (scikit-learn)", "mnist": "MNIST", "svhn": "SVHN", "gtsrb": "GTSRB"}
# Of the whole data sets, as torchvision gives them: training and test images, and channels.
FULL_SIZES = {"mnist": (60000, 10000), "svhn": (73257, 26032), "gtsrb": (26640, 12630)}
CHANNELS = {"mnist": 1, "svhn": 3, "gtsrb": 3}
DOWNLOADED = {"mnist": "MNIST", "svhn": "*_32x32.mat", "gtsrb": "gtsrb"}  # where torchvision puts each


@dataclass(frozen=True)
class Source:
    """A data set as it came, still to be checked: `check_source` says what is allowed.

    Images are uint8 (N, H, W, C), labels int64 (N,), groups int64 (N,) or None. `provenance` holds source,
    and for a mirror its sha256 and size in bytes.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    group_train: np.ndarray | None
    provenance: dict[str, Any]


def to_side(
    images: UInt8[np.ndarray, "images height width channels"],
) -> UInt8[np.ndarray, "images 32 32 channels"]:
    """Bring images to 32x32: 28x28 by a black border, others by bilinear resizing."""
    height, width = images.shape[1:3]
    if (height, width) == (SIDE, SIDE):
        return images
    if (height, width) == (28, 28):
        return np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    from PIL import Image

    resized = [
        np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        for image in (images[..., 0] if images.shape[3] == 1 else images)
    ]
    return np.stack(resized).reshape(len(images), SIDE, SIDE, images.shape[3])


def read_digits(test_fraction: float, random_state: int) -> Source:
    """The 1,797 digits of scikit-learn, 8x8 pixels each, split here into training and test images.

    Raises:
        DataError: `test_fraction` leaves fewer test images than there are classes.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    try:
        x_train, x_test, y_train, y_test = train_test_split(
            images,
            digits.target.astype(np.int64),
            test_size=test_fraction,
            stratify=digits.target,
            random_state=random_state,
        )
    except ValueError as error:
        raise DataError(f"digits cannot be split with test_fraction {test_fraction}: {error}") from error
    return Source(x_train, y_train, x_test, y_test, None, {"source": "scikit-learn"})


def read_mirror(path: Path) -> Source:
    """A mirror file: `x_train, y_train, x_test, y_test` and optionally `group_train`.

    Raises:
        DataError: an array is missing, or the file is no readable `.npz` of plain arrays.
    """
    try:
        arrays = load_arrays(path)
    except StorageError as error:
        raise DataError(str(error)) from error
    names = ("x_train", "y_train", "x_test", "y_test")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DataError(f"{path}: arrays missing: {', '.join(missing)}; it holds {', '.join(arrays)}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    provenance = {"source": "mirror", "sha256": digest, "bytes": path.stat().st_size}
    x_train, y_train, x_test, y_test = (arrays[name] for name in names)
    return Source(x_train, y_train, x_test, y_test, arrays.get("group_train"), provenance)


def read_torchvision(dataset: str, folder: Path) -> Source:
    """MNIST, SVHN or GTSRB as torchvision downloads it into `folder`, with its digests checked, and its counts.

    torchvision compares archives with their digests, but takes any unpacked folder for a whole one: unzipping that was
    cut off leaves a part.

    Raises:
        DataError: the download failed, or the files are damaged or a part; the message says what to do.
    """
    place = folder / DOWNLOADED[dataset]
    try:
        parts = [read_torchvision_split(dataset, folder, train) for train in (True, False)]
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"{TITLES[dataset]} cannot be read: {error}. Two ways to get it: let torchvision download it into "
            f"{folder}/ (needs the network; delete {place} first if a part is there), or set DEFUSE_DATA_DIR to a "
            f"folder that holds {dataset}.npz with arrays x_train, y_train, x_test, y_test (uint8 images (N, H, W, C), "
            "int64 labels)"
        ) from error
    (x_train, y_train, groups), (x_test, y_test, _) = parts
    found, whole = (len(y_train), len(y_test)), FULL_SIZES[dataset]
    if found != whole:
        raise DataError(
            f"{place} holds {found[0]:,} training and {found[1]:,} test images, and the whole {TITLES[dataset]} "
            f"{whole[0]:,} and {whole[1]:,}: unzipping was cut off, or files are missing; delete {place} and run again"
        )
    return Source(x_train, y_train, x_test, y_test, groups, {"source": "torchvision"})


def read_torchvision_split(
    dataset: str, folder: Path, train: bool
) -> tuple[
    UInt8[np.ndarray, "images height width channels"],
    Int64[np.ndarray, "images"],
    Int64[np.ndarray, "images"] | None,
]:
    """One split: images, labels, and groups where known."""
    import torchvision  # seconds, most of them for torch._dynamo
    from PIL import Image

    name = "train" if train else "test"
    if dataset == "mnist":
        part = torchvision.datasets.MNIST(folder, train=train, download=True)
        return part.data.numpy()[..., None], part.targets.numpy().astype(np.int64), None
    if dataset == "svhn":
        part = torchvision.datasets.SVHN(folder, split=name, download=True)
        return part.data.transpose(0, 2, 3, 1), part.labels.astype(np.int64), None
    part = torchvision.datasets.GTSRB(folder, split=name, download=True)
    images, labels, groups = [], [], []
    for path, label in part._samples:
        with Image.open(path) as image:
            images.append(to_side(np.asarray(image.convert("RGB"))[None])[0])
        labels.append(label)
        # The track, that is the physical sign, is the first part of a training image's file name.
        groups.append(label * 100_000 + int(Path(path).stem.split("_")[0]))
    return np.stack(images), np.array(labels, np.int64), np.array(groups) if train else None


def check_source(source: Source, dataset: str) -> None:
    """Check shapes, dtypes, label range and that every class can be split.

    Raises:
        DataError: naming the array, what it holds and what is allowed.
    """
    classes = CLASSES[dataset]
    for name in ("train", "test"):
        images, labels = getattr(source, f"x_{name}"), getattr(source, f"y_{name}")
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape[1:]:
            raise DataError(f"{dataset}: x_{name} is {images.dtype} {images.shape}; allowed: uint8 (N, H, W, 1 or 3)")
        if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"{dataset}: y_{name} is {labels.dtype} {labels.shape}; allowed: int64 ({len(images)},)")
        if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
            held = f"{labels.min()} to {labels.max()}" if len(labels) else "no label"
            raise DataError(f"{dataset}: y_{name} holds {held}; allowed: 0 to {classes - 1}")
        missing = sorted(set(range(classes)) - set(labels.tolist()))
        if missing:
            raise DataError(f"{dataset}: y_{name} has no image of class {', '.join(map(str, missing))}")
    if source.x_train.shape[3] != source.x_test.shape[3]:
        raise DataError(f"{dataset}: x_train and x_test differ in channels")
    if source.group_train is not None and source.group_train.shape != source.y_train.shape:
        raise DataError(f"{dataset}: group_train is {source.group_train.shape}; allowed: {source.y_train.shape}")
    if source.group_train is not None and not np.issubdtype(source.group_train.dtype, np.integer):
        raise DataError(f"{dataset}: group_train is {source.group_train.dtype}; allowed: int64")


def provenance_of(source: Source, dataset: str) -> dict[str, Any]:
    """What the data are, in fields and in one line for tables and figures.

    `slug` begins the name of every result file: a greyscale or partial SVHN never passes for the whole.
    """
    train, test, channels = len(source.y_train), len(source.y_test), source.x_train.shape[3]
    differs = []
    if channels != CHANNELS.get(dataset, channels):
        differs.append("greyscale" if channels == 1 else "colour")
    whole = FULL_SIZES.get(dataset, (train, test))
    if (train, test) != whole:
        differs.append("subset" if train <= whole[0] and test <= whole[1] else "other selection")
    title, slug = " ".join([TITLES[dataset], *differs]), "_".join([dataset, *differs]).replace(" ", "_")
    line = f"{title}: {train:,} training and {test:,} test images, 32x32x{channels}, {source.provenance['source']}"
    if "sha256" in source.provenance:
        line += f" sha256 {source.provenance['sha256'][:12]}"
    return {
        **source.provenance,
        "dataset": dataset,
        "title": title,
        "slug": slug,
        "channels": channels,
        "training_images": train,
        "test_images": test,
        "line": line,
    }
