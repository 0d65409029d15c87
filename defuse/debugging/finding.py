"""`defuse find`: from a classifier and its images to regions that people can label."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from defuse.core import params
from defuse.core.errors import DataError
from defuse.core.params_debugging import Debugging
from defuse.core.random_streams import Streams
from defuse.core.storage import read_table, save_arrays, write_table
from defuse.data.own_images import OwnImages, working_images
from defuse.data.pixels import channels_first, from_bytes, to_bytes
from defuse.data.prepared import Labelled
from defuse.debugging.measuring import BEFORE, measure_classifier
from defuse.debugging.run_folder import PURPOSES, SPLITS, RunFolder, identity_of, save_images, start_run
from defuse.debugging.settings import load_settings
from defuse.debugging.training import CHECKER, FEATURES, VAE_NAME, Trainings, timed
from defuse.method.identification import (
    PER_MISTAKE,
    Mistakes,
    decoded_predictions,
    find_mistakes,
    join_mistakes,
    prepare_seeds,
)
from defuse.method.shown import Shown, load_shown, save_shown
from defuse.models.autoencoder import VAE
from defuse.models.evaluation import accuracy, decode, encode
from defuse.models.machine import set_up_machine
from defuse.models.own_classifier import OwnClassifier, check_classifier
from defuse.models.subject import Subject
from defuse.studies.checker import Checker, calibrate_checker
from defuse.studies.readings import heaviest, pair_regions
from defuse.studies.region_images import member_images

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MINIMUM_IMAGES = 200  # of training, after the splits: with fewer the autoencoder learns single images by heart
MINIMUM_PER_CLASS = 10  # of all images of a class, so that each split has some
CHECKED_IMAGES = 512  # drawn to check the classifier on
TIMED_SEEDS = 16  # searched around to say how long the search will take
SIDES = (32, 48, 64, 96)
REGION_COLUMNS = ("region", "label", "prediction", "mistakes", "seed_images", "wrong_before", "share_of_mistakes")
POOR = 0.7  # share of right reconstructions below which a line of the log warns


@dataclass(frozen=True)
class Findings:
    """What a run found.

    Attributes:
        folder: of the run; everything lies there.
        regions: one row per region, the heaviest first: region, label (the seed images' class), prediction, mistakes,
            seed_images, wrong_before (share of its mistakes whose seed image itself is misclassified),
            share_of_mistakes.
        shown: images of each region, without the predictions.
        facts: what was run on what, and what it measured.
    """

    folder: Path
    regions: "pd.DataFrame"
    shown: Shown
    facts: dict[str, Any]


def load_findings(path: Path) -> Findings:
    """What `find_bugs` found in a folder.

    Raises:
        RunError: no finished run lies there.
    """
    folder = RunFolder(path)
    folder.need_finished()
    facts = folder.read_facts()
    return Findings(path, read_table(folder.regions), load_shown(folder.shown), facts)


def find_bugs(
    classifier: OwnClassifier,
    images: OwnImages,
    out: Path,
    test: OwnImages | None = None,
    settings: Debugging | None = None,
    source: str | None = None,
) -> Findings:
    """Search for a classifier's bugs around its training images, and lay out regions for people to label.

    A second call with the same classifier, images and settings goes on where the first was interrupted; what is
    finished is not computed again.

    Args:
        classifier: the user's.
        images: what it was trained on, with the right labels.
        out: folder of the run; new, empty, or of the same run.
        test: images that it has not seen, to measure on; without them a share of `images` is set aside.
        settings: from `load_settings`; None for the defaults.
        source: where commands find the classifier again, `package.module:function`.

    Raises:
        DataError: too few images.
        ClassifierError: a classifier that cannot be debugged.
        RunError: a folder of another run.
    """
    settings, folder = settings or load_settings(), RunFolder(out)
    streams, machine = Streams(settings.seed, ("debugging",)), set_up_machine(settings.compute)
    check_counts(images, test, settings)
    some = np.sort(streams.numpy("checked").permutation(len(images.labels))[:CHECKED_IMAGES])
    check_classifier(
        classifier, from_bytes(images.images[some]), torch.from_numpy(images.labels[some]), images.class_names
    )
    side = settings.side if settings.side != "auto" else fitting_side(classifier.size)
    facts = {
        "classifier": source,
        "class_names": images.class_names,
        "size": classifier.size,
        "channels": classifier.channels,
        "side": side,
        "images": images.note,
        "test_images": test.note if test else f"{settings.test_share:.0%} of the images, set aside",
        "settings": settings.model_dump(mode="json"),
    }
    start_run(folder, identity_of(classifier.fingerprint(), images, test, settings), facts)
    if not folder.labels.exists():
        save_images(folder, split_images(images, test, settings, streams))
    names = images.class_names
    data = {split: working_split(folder, split, side, names) for split in SPLITS}
    log.info("%s; the autoencoder works on %dx%d", images.note, side, side)

    trainings = Trainings(folder, data["train"], data["validation"], len(names), settings, machine, streams)
    say_how_long(trainings, classifier)
    features = trainings.features() if settings.train_vae.feature_weight else None
    vae = trainings.autoencoder(features)
    checker = None
    if settings.search.checker:
        network, generator = trainings.kept(CHECKER), streams.torch("blends")
        checker = calibrate_checker(network, data["validation"], settings.checking, generator)
    subject = Subject(classifier, vae, machine)
    folder.add_facts(accuracy=measure(folder, subject, data, checker))
    if not folder.finished:
        mistakes, pictures, counts = search(subject, data["train"], settings, checker, streams)
        folder.add_facts(found=counts)
        table = lay_out(folder, mistakes, pictures, names, settings, streams)
        measure_classifier(folder, classifier, BEFORE)
        write_table(folder.regions, table)
    return load_findings(out)


def check_counts(images: OwnImages, test: OwnImages | None, settings: Debugging) -> None:
    """Check that there are images enough for three splits.

    Raises:
        DataError: too few in all or of a class, or test images of other classes.
    """
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    few = [f"{name} ({count})" for name, count in zip(images.class_names, counts) if count < MINIMUM_PER_CLASS]
    if few:
        raise DataError(f"images of {', '.join(few)}; allowed: at least {MINIMUM_PER_CLASS} of each class")
    kept = (1 - settings.validation_share) * (1 if test else 1 - settings.test_share)
    if len(images.labels) * kept < MINIMUM_IMAGES:
        raise DataError(
            f"{len(images.labels):,} images, of which {int(len(images.labels) * kept):,} are left to train on; "
            f"allowed: at least {MINIMUM_IMAGES}, or the autoencoder learns them by heart"
        )
    if test is not None and test.class_names != images.class_names:
        raise DataError(
            f"the test images' classes are {', '.join(test.class_names)}; allowed: those of the images, in the same "
            f"order: {', '.join(images.class_names)}"
        )


def fitting_side(size: tuple[int, int]) -> int:
    """The least side of the autoencoder that holds images of this size; the largest where none does."""
    return next((side for side in SIDES if side >= max(size)), SIDES[-1])


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


def say_how_long(trainings: Trainings, classifier: OwnClassifier) -> None:
    """Say how long the run will take, from the first batches of everything; nothing is computed again that is there."""
    folder, settings = trainings.folder, trainings.settings
    if folder.finished:
        log.info("%s holds this run already, and nothing is computed again", folder.path)
        return
    features = trainings.untrained_features() if settings.train_vae.feature_weight else None
    seconds = {
        FEATURES: trainings.seconds_ahead(FEATURES) if features else 0.0,
        VAE_NAME: trainings.seconds_ahead(VAE_NAME, features),
        CHECKER: trainings.seconds_ahead(CHECKER) if settings.search.checker else 0.0,
        "search": search_seconds(trainings, classifier),
    }
    parts = ", ".join(f"{name} {spoken(number)}" for name, number in seconds.items() if number)
    log.info("this will take about %s (%s)", spoken(sum(seconds.values())), parts)


def spoken(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def search_seconds(trainings: Trainings, classifier: OwnClassifier) -> float:
    """How long the search will take, by that around a few images with an untrained autoencoder."""
    vae = trainings.untrained(VAE_NAME)[0].to(trainings.machine.device).eval()
    assert isinstance(vae, VAE)
    subject, settings = Subject(classifier, vae, trainings.machine), trainings.settings
    images, labels = (part[:TIMED_SEEDS] for part in trainings.training)
    around = (len(labels), min(settings.max_seed_images or len(trainings.training[1]), len(trainings.training[1])))
    return timed(lambda: find_all(subject, images, labels, settings, trainings.streams)) * around[1] / around[0]


def measure(
    folder: RunFolder, subject: Subject, data: dict[str, Labelled], checker: Checker | None
) -> dict[str, float | None]:
    """How right the classifier is on images as they are, at the autoencoder's size, and reconstructed.

    Returns:
        Shares of the test images that are right, `own_size`, `working_size` and `reconstructed`; and
        `checker_passes`, the share of validation images in which the checker sees their label, None without a checker.
    """
    images, labels = folder.load_split("test")
    reconstructed = decoded_predictions(subject, encode(subject.vae, data["test"][0])[0])
    measured: dict[str, float | None] = {
        "own_size": accuracy(subject.classifier, channels_first(images), torch.from_numpy(labels)),
        "working_size": accuracy(subject.classifier, *data["test"]),
        "reconstructed": float((reconstructed == labels).mean()),
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
            "the checker sees the label of %.0f %% of the validation images only, and keeps nothing: more images or "
            "more train_checker.epochs, or search: {checker: false} to do without",
            100 * checker.originals_passed,
        )
    return measured


def find_all(
    subject: Subject, images: Tensor, labels: Tensor, settings: Debugging, streams: Streams
) -> tuple[Mistakes, int]:
    """Mistakes around images with each noise, and how many of them were the autoencoder's, which are left out."""
    seeds = prepare_seeds(subject, images, labels)
    found = join_mistakes(
        [
            find_mistakes(
                subject,
                seeds,
                params.Search(seed_source="train", noise=noise, draws=settings.search.draws, keep=settings.search.keep),
                streams.key("noise", str(noise)),
                f"search with noise {noise}",
            )
            for noise in settings.search.noises
        ]
    )
    return found.take(~found.reconstruction_failure), int(found.reconstruction_failure.sum())


def search(
    subject: Subject, training: Labelled, settings: Debugging, checker: Checker | None, streams: Streams
) -> tuple[Mistakes, Tensor, dict[str, int]]:
    """The mistakes that the checker keeps, their images (M, C, side, side), and counts of where all others went."""
    images, labels = training
    drawn = np.sort(streams.numpy("seed images").permutation(len(labels))[: settings.max_seed_images])
    chosen = torch.from_numpy(drawn)
    mistakes, blurred = find_all(subject, images[chosen], labels[chosen], settings, streams)
    pictures = decode(subject.vae, torch.from_numpy(mistakes.codes))
    counts = {
        "seed_images": len(drawn),
        "draws": mistakes.draws,
        "identified": len(mistakes.label) + blurred,
        "autoencoder": blurred,
        "other_label": 0,
    }
    if checker:
        passes = checker.passes(pictures, mistakes.label)
        counts["other_label"] = int((~passes).sum())
        mistakes, pictures = mistakes.take(passes), pictures[torch.from_numpy(passes)]
    counts |= {"kept": len(mistakes.label), "wrong_before": int(mistakes.raw_failure.sum())}
    log.info(
        "%(draws)s images made around %(seed_images)s, %(identified)s mistakes kept; left out: %(autoencoder)s that "
        "are the autoencoder's, %(other_label)s in which the checker does not see the label",
        {name: f"{count:,}" for name, count in counts.items()},
    )
    return mistakes, pictures, counts


def lay_out(
    folder: RunFolder,
    mistakes: Mistakes,
    pictures: Tensor,
    class_names: tuple[str, ...],
    settings: Debugging,
    streams: Streams,
) -> "pd.DataFrame":
    """Divide the mistakes into regions; write what is shown of them and the rest of their images; a row of each."""
    import pandas as pd

    found = pair_regions(mistakes, settings.regions, streams.integer("regions"))
    regions = heaviest(found, mistakes, settings.minimum_members, settings.regions)
    images = member_images(
        pictures,
        mistakes.seed_index,
        regions.assignment,
        len(regions),
        settings.samples,
        streams.numpy("members"),
    )
    rows = []
    for number in range(len(regions)):
        own = mistakes.take(regions.assignment == number)
        rows.append(
            {
                "region": number,
                "label": class_names[int(np.bincount(own.label).argmax())],
                "prediction": class_names[int(np.bincount(own.prediction).argmax())],
                "mistakes": len(own.label),
                "seed_images": len(np.unique(own.seed_index)),
                "wrong_before": float(own.raw_failure.mean()),
                "share_of_mistakes": len(own.label) / len(mistakes.label),
            }
        )
    arrays = {}
    for purpose in PURPOSES:
        parts = [to_bytes(part) for part in getattr(images, purpose)]
        arrays[purpose] = np.concatenate(parts) if parts else to_bytes(pictures[:0])
        arrays[f"{purpose}_count"] = np.array([len(part) for part in parts], np.int64)
    shown = Shown(np.arange(len(regions)), [to_bytes(part) for part in images.shown], class_names)
    save_arrays(folder.mistakes, **{name: getattr(mistakes, name) for name in PER_MISTAKE}, region=regions.assignment)
    save_arrays(folder.region_images, **arrays)
    save_shown(folder.shown, shown)
    return pd.DataFrame(rows, columns=list(REGION_COLUMNS))
