"""What is checked of a user's classifier and images before any work begins on them."""

import hashlib
from math import ceil

import numpy as np
import torch

from defuse.core.errors import ClassifierError, DataError, ParamsError
from defuse.core.params_debugging import Debugging
from defuse.core.random_streams import Streams
from defuse.data.own_images import OwnImages, checked_labels
from defuse.data.pixels import from_bytes
from defuse.method.shown import Shown
from defuse.models.evaluation import predict
from defuse.models.own_classifier import OwnClassifier, check_classifier

MINIMUM_IMAGES = 200  # of training, after the splits: with fewer the autoencoder learns single images by heart
MINIMUM_PER_CLASS = 10  # of all images of a class, so that each split has some
CHECKED_IMAGES = 512  # drawn to check the classifier on
SIDES = (32, 48, 64, 96)


def check_input(
    classifier: OwnClassifier, images: OwnImages, test: OwnImages | None, settings: Debugging, streams: Streams
) -> str:
    """Check that a classifier can be debugged with these images and settings.

    Args:
        classifier: the user's.
        images: that it was trained on.
        test: that it has not seen, or None.
        settings: of the run.
        streams: draws the images that the classifier is tried on.

    Returns:
        Digest of the classifier: of its weights, or, where it shows none, of its answers on some of the images.

    Raises:
        DataError: images that are of another size than the classifier's, too few, or of classes that cannot be shown.
        ParamsError: settings that do not go with these images.
        ClassifierError: as `check_classifier`.
    """
    need_wrapped(classifier)
    Shown(np.zeros(0, np.int64), [], images.class_names)  # it refuses names that labellers could not answer
    for name, own in (("images", images), ("test images", test)):
        if own is not None:
            check_arrays(name, own, (*classifier.size, classifier.channels))
    check_counts(images, test, settings)
    check_side(settings, side_of(classifier, settings))
    drawn = np.sort(streams.numpy("checked").permutation(len(images.labels))[:CHECKED_IMAGES])
    some, labels = from_bytes(images.images[drawn]), torch.from_numpy(images.labels[drawn])
    check_classifier(classifier, some, labels, images.class_names)
    answers = predict(classifier, some).argmax(1).numpy()
    return classifier.fingerprint() or hashlib.sha256(answers.tobytes()).hexdigest()


def need_wrapped(classifier: object) -> None:
    """Check that a classifier comes as an OwnClassifier.

    Raises:
        ClassifierError: it does not.
    """
    if not isinstance(classifier, OwnClassifier):
        raise ClassifierError(
            f"the classifier is a {type(classifier).__name__}; allowed: defuse.OwnClassifier(module, size)"
        )


def check_arrays(name: str, own: OwnImages, shape: tuple[int, int, int]) -> None:
    """Check that images are as the classifier takes them, and labels as `images_from_arrays` makes them.

    Raises:
        DataError: saying what they are instead.
    """
    if own.images.dtype != np.uint8 or own.images.shape[1:] != shape:
        height, width, channels = shape
        raise DataError(
            f"{name} are {own.images.dtype} {own.images.shape}; allowed: uint8 (N, {height}, {width}, {channels}), of "
            "the classifier's size and channels, as read_image_folder and images_from_arrays make them"
        )
    checked_labels(own.labels, len(own.images), own.class_names)


def check_counts(images: OwnImages, test: OwnImages | None, settings: Debugging) -> None:
    """Check that there are images enough for three splits.

    Raises:
        DataError: too few in all or of a class, or test images of other classes, or the same images.
        ParamsError: a share that would leave a class without images.
    """
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    few = [f"{name} ({count})" for name, count in zip(images.class_names, counts) if count < MINIMUM_PER_CLASS]
    if few:
        raise DataError(f"images of {', '.join(few)}; allowed: at least {MINIMUM_PER_CLASS} of each class")
    left = len(images.labels)
    shares = {"validation_share": settings.validation_share}
    if test is None:
        shares = {"test_share": settings.test_share, **shares}
    for name, share in shares.items():
        if left * share < len(counts):
            raise ParamsError(
                f"{name}: {share:g} of {left:,} images is less than one of each class; allowed: at least "
                f"{len(counts) / left:.2g}"
            )
        left -= ceil(left * share)
    if left < MINIMUM_IMAGES:
        raise DataError(
            f"{len(images.labels):,} images, of which {left:,} are left to train on; allowed: at least "
            f"{MINIMUM_IMAGES} of these, or the autoencoder learns them by heart"
        )
    if test is not None and test.class_names != images.class_names:
        raise DataError(
            f"the test images' classes are {', '.join(test.class_names)}; allowed: those of the images, in the same "
            f"order: {', '.join(images.class_names)}"
        )
    if test is not None and np.array_equal(test.images, images.images):
        raise DataError("the test images are the training images; allowed: images that the classifier has not seen")


def check_side(settings: Debugging, side: int) -> None:
    """Check that the checker takes images of the autoencoder's side.

    Raises:
        ParamsError: it does not.
    """
    if settings.search.checker and settings.train_checker.network.architecture == "small_cnn" and side != SIDES[0]:
        raise ParamsError(
            f"train_checker.network.architecture: 'small_cnn' takes only images of {SIDES[0]}x{SIDES[0]}, but the "
            f"autoencoder works on {side}x{side}; allowed: the other architectures, or side: {SIDES[0]}"
        )


def side_of(classifier: OwnClassifier, settings: Debugging) -> int:
    """Side of the autoencoder's images: as set, or the least that holds the classifier's own; 96 where none does."""
    if settings.side != "auto":
        return settings.side
    return next((side for side in SIDES if side >= max(classifier.size)), SIDES[-1])
