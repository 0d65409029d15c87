"""What a classifier says of a run's images: the same measure before a correction and after it, here or elsewhere."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from defuse.core.storage import read_json, write_json
from defuse.data.pixels import channels_first, from_bytes
from defuse.data.prepared import Labelled
from defuse.debugging.run_folder import RunFolder
from defuse.method.identification import decoded_predictions
from defuse.models.evaluation import accuracy, encode, predict
from defuse.models.own_classifier import OwnClassifier
from defuse.models.subject import Subject
from defuse.studies.checker import Checker

log = logging.getLogger(__name__)

POOR = 0.7  # share of right reconstructions below which a line of the log warns

BEFORE, CORRECTED, RETRAINED = "before", "corrected", "retrained"


@dataclass(frozen=True)
class Measured:
    """What one classifier says.

    Attributes:
        test_accuracy: on the test images, of its own size.
        shown: its class of each image shown, by region.
        held_out: its class of each held-out image, by region; nothing was trained on these.
    """

    test_accuracy: float
    shown: list[list[int]]
    held_out: list[list[int]]

    def right(self, accepted: dict[int, int]) -> float:
        """Share of the held-out images of accepted regions that are right by the labellers; NaN without any."""
        right = [said == label for number, label in accepted.items() for said in self.held_out[number]]
        return float(np.mean(right)) if right else float("nan")


def right_test_images(folder: RunFolder, classifier: OwnClassifier) -> float:
    """Share of a run's test images, of the classifier's own size, that it gets right."""
    images, labels = folder.load_split("test")
    return accuracy(classifier, channels_first(images), torch.from_numpy(labels))


def measure_classifier(folder: RunFolder, classifier: OwnClassifier, name: str, test_accuracy: float) -> Measured:
    """Measure a classifier on a run's regions, and write it under a name.

    Args:
        folder: of the run, with its regions' images.
        classifier: any one with the same classes.
        name: BEFORE, CORRECTED or RETRAINED.
        test_accuracy: of `right_test_images`, which the caller may know already.
    """

    def said(purpose: str) -> list[list[int]]:
        parts = folder.load_region_images(purpose)
        return [predict(classifier, from_bytes(part)).argmax(1).tolist() for part in parts]

    measured = Measured(test_accuracy, said("shown"), said("test"))
    write_json(measures_file(folder, name), vars(measured))
    return measured


def measures_file(folder: RunFolder, name: str) -> Path:
    """Where the measures of one classifier lie."""
    return folder.path / "measured" / f"{name}.json"


def load_measured(folder: RunFolder) -> dict[str, Measured]:
    """All that was measured in a run, by name, the classifier as it was first."""
    names = [name for name in (BEFORE, CORRECTED, RETRAINED) if measures_file(folder, name).exists()]
    return {name: Measured(**read_json(measures_file(folder, name))) for name in names}


def measure_reconstructions(
    own_size: float, subject: Subject, data: dict[str, Labelled], checker: Checker | None
) -> dict[str, float | None]:
    """How right the classifier is on images as they are, at the autoencoder's size, and reconstructed.

    Args:
        own_size: share of the test images that are right as they are.
        subject: classifier and autoencoder.
        data: the splits at the autoencoder's size.
        checker: of the search, if it has one.

    Returns:
        Shares of the test images that are right, `own_size`, `working_size` and `reconstructed`; and
        `checker_passes`, the share of validation images in which the checker sees their label, None without a checker.
    """
    images, labels = data["test"]
    reconstructed = decoded_predictions(subject, encode(subject.vae, images)[0])
    measured: dict[str, float | None] = {
        "own_size": own_size,
        "working_size": accuracy(subject.classifier, images, labels),
        "reconstructed": float((reconstructed == labels.numpy()).mean()),
        "checker_passes": checker.originals_passed if checker else None,
    }
    log.info(
        "right test images: %.1f %%; at the autoencoder's size %.1f %%; reconstructed by it %.1f %%",
        *(100 * float(measured[name] or 0) for name in ("own_size", "working_size", "reconstructed")),
    )
    if float(measured["reconstructed"] or 0) < POOR * float(measured["own_size"] or 0):
        log.warning(
            "the autoencoder loses much of what the classifier looks at, and little may be found: more images, a "
            "larger side, train_vae.latent_dim or train_vae.epochs may help"
        )
    if checker and not checker.works:
        log.warning(
            "the checker takes %.0f %% of the blends of two validation images for one class, and keeps nothing: more "
            "images or more train_checker.epochs, or search: {checker: false} to do without",
            100 * checker.blends_passed,
        )
    return measured
