"""A run's images, divided into those to train on, to choose by, and to measure on."""

import numpy as np
import torch
from jaxtyping import Int64

from defuse.core.params_debugging import Debugging
from defuse.core.random_streams import Streams
from defuse.data.own_images import OwnImages, working_images
from defuse.data.prepared import Labelled
from defuse.debugging.run_folder import RunFolder


def part(images: OwnImages, chosen: Int64[np.ndarray, "chosen"]) -> OwnImages:
    """Some of the images."""
    return OwnImages(images.images[chosen], images.labels[chosen], images.class_names, images.note)


def split_images(
    images: OwnImages, test: OwnImages | None, settings: Debugging, streams: Streams
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of each split, stratified by class."""
    from sklearn.model_selection import train_test_split

    def divided(numbers: np.ndarray, share: float, purpose: str) -> list[np.ndarray]:
        labels, state = images.labels[numbers], streams.integer(purpose)
        return train_test_split(numbers, test_size=share, stratify=labels, random_state=state)

    training = np.arange(len(images.labels))
    if test is None:
        training, set_aside = divided(training, settings.test_share, "test")
        test = part(images, np.sort(set_aside))
    training, validation = divided(training, settings.validation_share, "validation")
    return {
        "train": (images.images[np.sort(training)], images.labels[np.sort(training)]),
        "validation": (images.images[np.sort(validation)], images.labels[np.sort(validation)]),
        "test": (test.images, test.labels),
    }


def working_split(folder: RunFolder, split: str, side: int, class_names: tuple[str, ...]) -> Labelled:
    """A split's images as the autoencoder takes them."""
    images, labels = folder.load_split(split)
    return working_images(OwnImages(images, labels, class_names, ""), side), torch.from_numpy(labels)
