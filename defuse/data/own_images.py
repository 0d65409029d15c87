"""A user's own images: from folders or arrays, checked, and brought to the size of their classifier."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from defuse.core.errors import DataError
from defuse.data.pixels import channels_first, in_unit_range

if TYPE_CHECKING:
    from PIL import Image

AT_ONCE = 4096  # images that are resized together, so that no second copy of a data set is held


@dataclass(frozen=True)
class OwnImages:
    """Labelled images of one size.

    Attributes:
        images: as the classifier takes them.
        labels: of the images, from 0.
        class_names: by label.
        note: what was done to the images, for the log; sizes in it are width x height.
    """

    images: UInt8[np.ndarray, "images height width channels"]
    labels: Int64[np.ndarray, "images"]
    class_names: tuple[str, ...]
    note: str


def read_image_folder(
    path: Path, size: tuple[int, int], channels: int, class_names: Sequence[str] | None = None
) -> OwnImages:
    """Images in folders named by their classes, `PATH/CLASS/.../IMAGE`, as torchvision's `ImageFolder` reads them.

    EXIF's rotation is applied, transparent pixels become white, sixteen bits become eight.

    Args:
        path: the folder of folders.
        size: height and width to bring the images to (bilinear).
        channels: 1 for grey, 3 for colour.
        class_names: the classes in the order of the classifier's logits; None for `ImageFolder`'s, which is that of
            sorted names ("10" before "2").

    Raises:
        DataError: no folder of classes, fewer than two, a class without images, other classes than `class_names`, or
            a file that is no image by more than its name.
    """
    from torchvision.datasets import ImageFolder  # seconds, most of them for torch._dynamo

    if not path.is_dir():
        raise DataError(f"{path}: no such folder; allowed: a folder with a folder of images for each class")
    try:
        found = ImageFolder(path)
    except FileNotFoundError as error:  # in its words: which classes have no images
        raise DataError(f"{path}: {error} Allowed: a folder with a folder of images for each class") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    check_class_names(found.classes, str(path))
    names = tuple(found.classes if class_names is None else class_names)
    check_class_names(names, "class_names")
    if set(names) != set(found.classes):
        unknown, missing = set(found.classes) - set(names), set(names) - set(found.classes)
        parts = [f"folders of no class: {', '.join(sorted(unknown))}"] if unknown else []
        parts += [f"classes without a folder: {', '.join(sorted(missing))}"] if missing else []
        raise DataError(f"{path}: {'; '.join(parts)}; allowed: a folder for each of {', '.join(names)}")
    labels = np.array([names.index(found.classes[number]) for number in found.targets], np.int64)
    files = tqdm(found.samples, desc=f"images of {path.name}", unit="image", disable=None, leave=False)
    images, changes = to_arrays((read_image(Path(file)) for file, _ in files), size, channels)
    return OwnImages(images, labels, names, changes)


def images_from_arrays(
    images: np.ndarray | Tensor,
    labels: np.ndarray | Tensor | Sequence[int],
    class_names: Sequence[str],
    size: tuple[int, int],
    channels: int,
) -> OwnImages:
    """Images that are arrays already.

    Args:
        images: (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3; uint8, or floating point in [0, 1], which is rounded
            to eight bits.
        labels: N whole numbers from 0.
        class_names: by label, in the order of the classifier's logits.
        size: height and width to bring the images to (bilinear).
        channels: 1 for grey, 3 for colour.

    Raises:
        DataError: saying what is wrong, where, and what is allowed.
    """
    from PIL import Image

    check_class_names(class_names, "class_names")
    pixels = to_uint8(channels_last(as_numpy(images)))
    numbers = checked_labels(as_numpy(labels), len(pixels), class_names)
    drawn = (Image.fromarray(image[..., 0] if image.shape[2] == 1 else image) for image in pixels)
    arrays, changes = to_arrays(drawn, size, channels)
    return OwnImages(arrays, numbers, tuple(class_names), changes)


def working_images(own: OwnImages, side: int) -> Float32[Tensor, "images channels {side} {side}"]:
    """The images in [0, 1] as squares, for the autoencoder: bilinear, smoothed where they shrink."""
    pixels = channels_first(own.images)
    return torch.cat([to_size(in_unit_range(part), (side, side)) for part in pixels.split(AT_ONCE)]).contiguous()


def to_size(
    images: Float32[Tensor, "images channels height width"], size: tuple[int, int]
) -> Float32[Tensor, "images channels {size[0]} {size[1]}"]:
    """Images of another height and width: bilinear, smoothed where they shrink; untouched where the size is right."""
    if images.shape[2:] == size:
        return images
    return functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


# Checks


def check_class_names(names: Sequence[str], place: str) -> None:
    """Check that there are two classes at least, none without a name and none twice.

    Raises:
        DataError: naming the classes and the place they come from.
    """
    if len(names) < 2:
        raise DataError(f"{place}: {len(names)} class ({', '.join(names)}); allowed: two or more")
    blank = [name for name in names if not name.strip()]
    if blank:
        raise DataError(f"{place}: {blank[0]!r}; allowed: names with letters or digits")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise DataError(f"{place}: {', '.join(twice)} more than once; allowed: each class once")


def as_numpy(values: np.ndarray | Tensor | Sequence[int]) -> np.ndarray:
    """An array of any of these; a tensor may be on any device, and of a format that NumPy lacks."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.is_floating_point() else values).numpy()
    return np.asarray(values)


def channels_last(images: np.ndarray) -> np.ndarray:
    """Images (N, H, W, 1 or 3).

    Raises:
        DataError: no images, or a shape that is none of the allowed or could be two of them.
    """
    allowed = "allowed: (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3"
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(f"images have shape {images.shape}; {allowed}")
    if images.ndim == 3:
        return images[..., None]
    first, last = (images.shape[axis] in (1, 3) for axis in (1, 3))
    if first and last:
        raise DataError(f"images have shape {images.shape}: which axis is that of the channels? {allowed}, not both")
    if not first and not last:
        raise DataError(f"images have shape {images.shape}; {allowed}")
    return images if last else images.transpose(0, 2, 3, 1)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Images as uint8.

    Raises:
        DataError: another type, NaN, infinity, or numbers outside [0, 1].
    """
    allowed = "allowed: uint8, or floating point in [0, 1]"
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"images are {images.dtype}; {allowed} (of 0 to 255: images.astype(np.uint8))")
    finite = np.isfinite(images).all((1, 2, 3))
    if not finite.all():
        raise DataError(f"image {int(finite.argmin())} (from 0) holds NaN or infinity; {allowed}")
    inside = ((images >= 0) & (images <= 1)).all((1, 2, 3))
    if not inside.all():
        place = int(inside.argmin())
        held = f"{images[place].min():.4g} to {images[place].max():.4g}"
        raise DataError(f"image {place} (from 0) holds {held}; {allowed}, before any normalisation")
    return np.round(images * 255).astype(np.uint8)


def checked_labels(labels: np.ndarray, count: int, class_names: Sequence[str]) -> Int64[np.ndarray, "images"]:
    """Labels of `count` images as int64.

    Raises:
        DataError: another number of them, no whole numbers, one outside the classes, or a class that has none.
    """
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise DataError(f"labels are {labels.dtype} of shape {labels.shape}; allowed: whole numbers (N,)")
    if len(labels) != count:
        raise DataError(f"{len(labels):,} labels of {count:,} images; allowed: one for each")
    outside = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(outside):
        place = int(outside[0])
        raise DataError(
            f"label {labels[place]} of image {place} (from 0) is no class; allowed: 0 to {len(class_names) - 1} "
            f"for {len(class_names)} class names ({len(outside):,} labels are outside)"
        )
    empty = [name for number, name in enumerate(class_names) if number not in set(labels.tolist())]
    if empty:
        raise DataError(f"no image of {', '.join(empty)}; allowed: classes with images")
    return labels.astype(np.int64)


# Pictures


def read_image(path: Path) -> "Image.Image":
    """An image file, decoded, of eight bits, the right way up.

    Raises:
        DataError: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return to_eight_bits(ImageOps.exif_transpose(image))
    except Exception as error:  # PIL's decoders raise errors of many kinds
        raise DataError(f"{path}: no image that can be read ({type(error).__name__}: {error})") from error


def to_eight_bits(image: "Image.Image") -> "Image.Image":
    """Grey of sixteen bits as eight; other images as they are.

    Raises:
        ValueError: pixels without a known white.
    """
    from PIL import Image

    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"pixels from {values.min():.5g} to {values.max():.5g}; allowed: 8 bits, or 0 to 65535")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))


def to_channels(image: "Image.Image", channels: int) -> "Image.Image":
    """An image of mode L or RGB; transparent pixels become white."""
    from PIL import Image

    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("L" if channels == 1 else "RGB")


def to_arrays(
    pictures: Iterable["Image.Image"], size: tuple[int, int], channels: int
) -> tuple[UInt8[np.ndarray, "images {size[0]} {size[1]} {channels}"], str]:
    """All of one size and number of channels, and what was done to them, in words."""
    from PIL import Image

    height, width = size
    arrays, sizes, recoloured = [], set(), 0
    for picture in pictures:
        sizes.add(picture.size)
        recoloured += (picture.mode in ("1", "L", "LA")) != (channels == 1)
        image = to_channels(picture, channels).resize((width, height), Image.Resampling.BILINEAR)
        arrays.append(np.asarray(image).reshape(height, width, channels))
    by_area = sorted(sizes, key=lambda one: (one[0] * one[1], one))
    extremes = dict.fromkeys(f"{one[0]}x{one[1]}" for one in (by_area[0], by_area[-1]))
    note = f"{len(arrays):,} images, {' to '.join(extremes)} pixels"
    if sizes != {(width, height)}:
        note += f", resized to {width}x{height}"
    if recoloured:
        note += f", {recoloured:,} of them {'from colour to grey' if channels == 1 else 'from grey to colour'}"
    return np.stack(arrays), note
