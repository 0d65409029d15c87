"""Planted bugs: training data with a bug that is known.

A bug is a subgroup of one class (its images at one end of a measurable property) that is given a wrong label, or is
left out, in training. Images are in [0, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor, nn

from defuse.core import params
from defuse.core.errors import PlantingError
from defuse.core.random_streams import Streams
from defuse.data.prepared import Labelled
from defuse.models.classifiers import build_classifier
from defuse.models.machine import Machine
from defuse.models.training import train_classifier


def thickness(image: Float64[np.ndarray, "height width"]) -> float:
    """Mean distance in pixels from the ink to the nearest pixel without ink; ink is at least half the brightest."""
    from scipy import ndimage

    ink = image >= max(image.max() / 2, np.finfo(np.float32).tiny)
    return float(ndimage.distance_transform_edt(np.pad(ink, 1))[1:-1, 1:-1][ink].mean()) if ink.any() else 0.0


def slant(image: Float64[np.ndarray, "height width"]) -> float:
    """Pixels to the right per pixel upwards: shear of the brightness, by its second central moments."""
    total = image.sum()
    rows, columns = np.indices(image.shape)
    rows, columns = (where - (image * where).sum() / max(total, 1e-12) for where in (rows, columns))
    vertical = (image * rows**2).sum()
    return float(-(image * rows * columns).sum() / vertical) if vertical > 0 else 0.0


# Each takes one image, float64 (height, width), the mean over its channels; the first two are meant for bright strokes.
PROPERTIES: dict[str, Callable[[Float64[np.ndarray, "height width"]], float]] = {
    "thickness": thickness,
    "slant": slant,
    "brightness": lambda image: float(image.mean()),
    "contrast": lambda image: float(image.std()),
}


def measure_property(
    images: Float32[Tensor, "images channels height width"], name: str
) -> Float64[np.ndarray, "images"]:
    """The property `name` (a key of PROPERTIES) of each image."""
    return np.array([PROPERTIES[name](image) for image in images.mean(1).numpy().astype(np.float64)], np.float64)


def property_bound(
    images: Float32[Tensor, "images channels height width"], labels: Int64[Tensor, "images"], bug: params.PlantedBug
) -> float:
    """Value of the property beyond which the share `bug.share` of the label's images lies, on the bug's side.

    Raises:
        PlantingError: no image has the bug's label, or none its target.
    """
    present = set(labels.tolist())
    for name, value in (("label", bug.label), ("target", bug.target)):
        if value is not None and value not in present:
            raise PlantingError(f"{name}: {value} is not allowed: no image has it; labels are {sorted(present)}")
    values = measure_property(images[labels == bug.label], bug.property)
    return float(np.quantile(values, bug.share if bug.side == "low" else 1 - bug.share))


def in_subgroup(
    images: Float32[Tensor, "images channels height width"],
    labels: Int64[Tensor, "images"],
    bug: params.PlantedBug,
    bound: float,
) -> Bool[np.ndarray, "images"]:
    """Which images are of the bug's label at or beyond `bound` on the bug's side."""
    chosen = (labels == bug.label).numpy()
    values = measure_property(images[torch.from_numpy(chosen)], bug.property)
    chosen[chosen] = values <= bound if bug.side == "low" else values >= bound
    return chosen


@dataclass(frozen=True)
class Subgroup:
    """The images that a bug is about.

    Attributes:
        bound: value of the property at which the subgroup begins; the same for training and test images.
        training: which training images are in it.
        test: which test images are.
    """

    bound: float
    training: Bool[np.ndarray, "training"]
    test: Bool[np.ndarray, "test"]


def find_subgroup(training: Labelled, test: Labelled, bug: params.PlantedBug) -> Subgroup:
    """The bug's subgroup of training and of test images, by one bound from the training images.

    Raises:
        PlantingError: no training image has the bug's label, or none its target.
    """
    bound = property_bound(*training, bug)
    return Subgroup(bound, in_subgroup(*training, bug, bound), in_subgroup(*test, bug, bound))


def touched_images(
    subgroup: Bool[np.ndarray, "images"], strength: float, generator: np.random.Generator
) -> Int64[np.ndarray, "touched"]:
    """Numbers of the share `strength` of the subgroup.

    With equal generators a larger strength touches the images of a smaller one and more.
    """
    order = generator.permutation(np.flatnonzero(subgroup))
    return np.sort(order[: round(strength * len(order))])


def plant(
    images: Float32[Tensor, "images channels height width"],
    labels: Int64[Tensor, "images"],
    touched: Int64[np.ndarray, "touched"],
    bug: params.PlantedBug | None,
) -> Labelled:
    """Training data with the bug; images and labels given are left as they are.

    Args:
        images: the training images.
        labels: their true labels.
        touched: numbers of the images to mislabel or to leave out.
        bug: None plants nothing.
    """
    if bug is None:
        return images, labels
    where = torch.from_numpy(touched)
    if bug.target is not None:  # mislabelled
        planted = labels.clone()
        planted[where] = bug.target
        return images, planted
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[where] = False
    return images[kept], labels[kept]


def belongs_to_bug(
    subgroup: Bool[np.ndarray, "mistakes"], predictions: Int64[np.ndarray, "mistakes"], bug: params.PlantedBug
) -> Bool[np.ndarray, "mistakes"]:
    """Which mistakes are of images in the subgroup and called what the bug taught.

    What a classifier calls images that were left out of training is not known: any wrong class counts.
    """
    return subgroup & (predictions == bug.target) if bug.kind == "mislabelled" else subgroup


def planted_classifier(
    network: dict[str, Any],
    training: Labelled,
    validation: Labelled,
    settings: params.TrainClassifier,
    machine: Machine,
    streams: Streams,
    description: str,
) -> nn.Sequential:
    """A classifier trained on data with a bug; all bugs and the control share initial weights and batch order.

    Args:
        network: arguments of `build_classifier`.
        training: from `plant`.
        validation: images and true labels.
        settings: optimisation, epochs, augmentation, label smoothing.
        machine: device and precision.
        streams: of weights and batches.
        description: shown by the progress bar.
    """
    with streams.seeding_torch("weights"):
        classifier = build_classifier(**network)
    batches = streams.torch("batches")
    train_classifier(
        classifier, training, validation, settings, machine, batches, description, settings.label_smoothing
    )
    return classifier
