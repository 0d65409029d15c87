"""A user's own classifier under the package's convention, and the check that it can be debugged."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from defuse.core.errors import ClassifierError
from defuse.data.own_images import to_size
from defuse.models.evaluation import predict
from defuse.models.machine import device_of

PIXELS_AT_ONCE = 2**22  # through the network without gradients: 256 images of 128x128
LEAST_ABOVE_CHANCE = 0.2  # of the way from chance to all right: below, what is found would mean nothing
ROUNDING = 0.02  # of the largest logit: by how much two calls may differ, with networks in bfloat16
BATCH = 8  # images, when it is tried first


class OwnClassifier(nn.Module):
    """A user's classifier: float32 (N, C, h, w) in [0, 1] of any size -> logits float32 (N, classes).

    It resizes to the classifier's size (bilinear, smoothed where images shrink), normalises, and moves the images to
    the network's own device. The network stays where it is; it is put into evaluation mode.

    Attributes:
        network: the user's module or function.
        size: height and width that it takes.
        channels: 1 or 3.
        stays_as_it_is: the search neither copies nor casts it.
    """

    stays_as_it_is = True

    def __init__(
        self,
        network: nn.Module | Callable[[np.ndarray], np.ndarray],
        size: int | tuple[int, int],
        channels: Literal[1, 3] = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        """Wrap a network.

        Args:
            network: a module from float32 (N, C, H, W) to logits (N, classes); or a function of another framework from
                float32 NumPy (N, H, W, C) to logits (N, classes), which cannot be fine-tuned here.
            size: of the images that it takes: a side, or height and width.
            channels: of the images that it takes.
            mean: of each channel, subtracted from images in [0, 1]; None where the network normalises by itself.
            std: of each channel, divided by; None as above. A network that takes 0 to 255: mean 0, std 1 / 255.

        Raises:
            ClassifierError: one of these is none.
        """
        super().__init__()
        if isinstance(network, type) or not callable(network):
            what = f"the class {network.__name__}" if isinstance(network, type) else f"a {type(network).__name__}"
            raise ClassifierError(f"the classifier is {what}; allowed: a torch.nn.Module that is built, or a function")
        sides = (size, size) if isinstance(size, int) else tuple(size)
        if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
            raise ClassifierError(f"size is {size!r}; allowed: a side, or height and width, in pixels")
        self.size = (sides[0], sides[1])
        if channels not in (1, 3):
            raise ClassifierError(f"channels is {channels!r}; allowed: 1, 3")
        if (mean is None) != (std is None):
            raise ClassifierError(f"mean is {mean} and std is {std}; allowed: both, or neither")
        for name, values in (("mean", mean), ("std", std)):
            if values is not None and (len(values) != channels or not np.isfinite(values).all()):
                raise ClassifierError(f"{name} is {list(values)}; allowed: one finite number per channel ({channels})")
        if std is not None and min(std) <= 0:
            raise ClassifierError(f"std is {list(std)}; allowed: above 0")
        self.network = network
        self.channels = channels
        # No buffers: they are on no device of their own.
        self.mean = None if mean is None else torch.tensor(mean, dtype=torch.float32)
        self.std = None if std is None else torch.tensor(std, dtype=torch.float32)
        self.eval()

    def forward(self, images: Float32[Tensor, "images channels height width"]) -> Float32[Tensor, "images classes"]:
        """Logits, on the network's device; without gradients in parts, so that large images fill no memory.

        Raises:
            ClassifierError: what it returns is no array of floating-point numbers with one row for each image.
        """
        if not len(images):  # many networks cannot flatten no image
            return self(images.new_zeros((1, *images.shape[1:])))[:0]
        at_once = len(images) if torch.is_grad_enabled() else max(1, PIXELS_AT_ONCE // (self.size[0] * self.size[1]))
        return torch.cat([self._logits(part) for part in images.split(at_once)])

    def _logits(self, images: Tensor) -> Tensor:
        """Logits of images that fit the memory."""
        if images.shape[1] != self.channels:
            raise ClassifierError(f"images have {images.shape[1]} channels; allowed: the classifier's {self.channels}")
        images = to_size(images.to(device_of(self)), self.size)
        if self.mean is not None and self.std is not None:
            images = (images - self.mean.to(images.device)[:, None, None]) / self.std.to(images.device)[:, None, None]
        if isinstance(self.network, nn.Module):
            logits = self.network(images)
        else:
            logits = as_tensor(self.network(images.permute(0, 2, 3, 1).cpu().numpy()))
        return checked_logits(logits, len(images)).float()

    @property
    def can_be_tuned(self) -> bool:
        """Whether gradients reach weights that may change: False for a function."""
        if not any(weight.requires_grad for weight in self.parameters()):
            return False
        with torch.inference_mode(False), torch.enable_grad():
            return self(torch.zeros((1, self.channels, *self.size))).requires_grad

    def fingerprint(self) -> str | None:
        """sha256 over size, normalisation and weights, by name; None where no weights are seen, as of a function."""
        weights = {name: value for name, value in self.state_dict().items() if isinstance(value, Tensor)}
        if not weights:
            return None
        digest = hashlib.sha256(f"{self.size} {self.channels} {self.mean} {self.std}".encode())
        for name, value in weights.items():
            digest.update(f"\n{name} {value.dtype} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def as_tensor(values: object) -> object:
    """What a function returned as a tensor, where it holds numbers: other frameworks' arrays know NumPy's way."""
    if isinstance(values, Tensor):
        return values.detach()
    array = np.array(values)
    return torch.from_numpy(array) if array.dtype.kind in "fiub" else values


def checked_logits(logits: object, count: int) -> Tensor:
    """What a classifier returned for `count` images, if it may be logits.

    Raises:
        ClassifierError: saying what it is instead.
    """
    allowed = f"allowed: a floating-point tensor ({count}, classes) of logits for {count} images"
    if not isinstance(logits, Tensor):
        hint = "" if not hasattr(logits, "logits") else ", whose field logits may be what is meant"
        raise ClassifierError(f"the classifier returns a {type(logits).__name__}{hint}; {allowed}")
    if not logits.is_floating_point() or logits.ndim != 2 or len(logits) != count:
        kind = str(logits.dtype).removeprefix("torch.")
        raise ClassifierError(f"the classifier returns {kind} {tuple(logits.shape)}; {allowed}")
    return logits


def check_classifier(
    classifier: OwnClassifier,
    images: Float32[Tensor, "images channels height width"],
    labels: Int64[Tensor, "images"],
    class_names: Sequence[str],
) -> None:
    """Check that a classifier can be debugged: before hours of work are spent on it.

    Args:
        classifier: the user's.
        images: in [0, 1], some of each class; a few hundred tell enough.
        labels: of the images.
        class_names: by label.

    Raises:
        ClassifierError: saying what it does, where, and what is allowed.
    """
    check_weights(classifier)
    logits = attempt(classifier, images[:BATCH])
    classes = len(class_names)
    if logits.shape[1] != classes:
        hint = "; of one logit x for two classes make (0, x)" if logits.shape[1] == 1 else ""
        raise ClassifierError(
            f"the classifier gives {logits.shape[1]} logits, and there are {classes} classes ({listed(class_names)}); "
            f"allowed: a logit for each class, in their order{hint}"
        )
    logits = attempt(classifier, images)
    finite = logits.isfinite().all(1)
    if not finite.all():
        raise ClassifierError(
            f"logits of {int((~finite).sum()):,} of {len(images):,} images hold NaN or infinity, the first of them of "
            f"image {int((~finite).nonzero()[0])} (from 0); allowed: finite numbers for every image in [0, 1]"
        )
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all()):
        raise ClassifierError(
            "the classifier gives probabilities: no number is below 0, and each row sums to 1; allowed: logits, what "
            "goes into the softmax, for example torch.log(probabilities)"
        )
    check_same(classifier, images[:BATCH], logits[:BATCH])
    check_accuracy(logits.argmax(1), labels, class_names)


def check_weights(classifier: OwnClassifier) -> None:
    """Check that all weights are on one device that holds numbers.

    Raises:
        ClassifierError: naming the devices.
    """
    devices = Counter(str(part.device) for part in chain(classifier.parameters(), classifier.buffers()))
    if len(devices) > 1 or "meta" in devices:
        places = ", ".join(f"{count} on {device}" for device, count in sorted(devices.items()))
        hint = " with numbers (the meta device holds none: load the weights)" if "meta" in devices else ""
        raise ClassifierError(f"weights and buffers are: {places}; allowed: all on one device{hint}")


def attempt(classifier: OwnClassifier, images: Tensor) -> Tensor:
    """Logits of a batch.

    Raises:
        ClassifierError: the classifier fails, with its own error's kind and text.
    """
    try:
        return predict(classifier, images)
    except ClassifierError:
        raise
    except Exception as error:  # the user's code may raise anything
        height, width = classifier.size
        if isinstance(classifier.network, nn.Module):
            given = f"a float32 tensor {(len(images), classifier.channels, height, width)}"
        else:
            given = f"a float32 array {(len(images), height, width, classifier.channels)}"
        raise ClassifierError(
            f"the classifier fails on {given}: {type(error).__name__}: {error}; allowed: batches of any size, "
            f"of {classifier.channels} channels and {height}x{width} pixels as its `channels` and `size` say"
        ) from error


def check_same(classifier: OwnClassifier, images: Tensor, logits: Tensor) -> None:
    """Check that the same image has the same logits when it comes again, and when it comes alone.

    Raises:
        ClassifierError: by how much they differ.
    """
    tolerance = ROUNDING * float(logits.abs().max())
    for what, again, hint in (
        ("two calls on the same images", attempt(classifier, images), "dropout, or noise of its own?"),
        ("an image alone and in a batch", attempt(classifier, images[:1]), "batch norm in training mode?"),
    ):
        difference = float((again - logits[: len(again)]).abs().max())
        if not difference <= tolerance:
            raise ClassifierError(
                f"logits of {what} differ by up to {difference:.3g} ({hint}); allowed: the same logits for the same "
                "image, as in evaluation mode"
            )


def check_accuracy(predicted: Int64[Tensor, "images"], labels: Int64[Tensor, "images"], names: Sequence[str]) -> None:
    """Check that the classifier is better than chance, every class counting the same.

    Raises:
        ClassifierError: with the usual reasons; where another order of the classes would fit, it says which.
    """
    from scipy.optimize import linear_sum_assignment

    classes = len(names)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels.numpy(), predicted.numpy()), 1)
    shares = confusion / confusion.sum(1, keepdims=True).clip(1)
    present = int((confusion.sum(1) > 0).sum())
    mean, chance = shares.trace() / present, 1 / classes
    if mean >= chance + LEAST_ABOVE_CHANCE * (1 - chance):
        return
    reasons = (
        f"usual reasons: the order of the classes (here: {listed(names)}; sorted names put 10 before 2), the "
        "normalisation (mean and std, or images of 0 to 255), the order of the channels"
    )
    rows, columns = linear_sum_assignment(shares, maximize=True)
    fitting = shares[rows, columns].sum() / present
    if fitting > 2 * mean and fitting >= 0.7:
        moved = [f"output {column} is {names[row]}" for row, column in zip(rows, columns) if row != column]
        reasons = f"in another order of the classes it would be {fitting:.0%}: {listed(moved, 4)}"
    raise ClassifierError(
        f"the classifier is right on {mean:.0%} of the images, every class counting the same, and chance is "
        f"{chance:.0%}; {reasons}"
    )


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in a row, the first ones where there are many."""
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])
