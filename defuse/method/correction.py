"""Correction: fine-tune on training data plus labelled regions, weighed by lambda; and the paper's baseline."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional

from defuse.core import params
from defuse.core.params_debugging import CorrectOwn
from defuse.data.pixels import Pixels, in_unit_range
from defuse.data.prepared import Labelled
from defuse.models.augmentation import augment
from defuse.models.evaluation import predict
from defuse.models.machine import Machine, device_of
from defuse.models.training import make_optimizer, run_steps, steps_bar


@dataclass(frozen=True)
class Batches:
    """Labelled images, and the batches of them that every arm of a sweep sees.

    Attributes:
        images: in [0, 1], or bytes, which take a quarter of the memory.
        labels: one for each image.
        order: numbers of the images in each step's batch.
    """

    images: Pixels
    labels: Int64[Tensor, "images"]
    order: Int64[Tensor, "steps batch"]

    def at(self, step: int) -> tuple[Float32[Tensor, "batch channels height width"], Int64[Tensor, "batch"]]:
        """Images and labels of one step's batch."""
        return in_unit_range(self.images[self.order[step]]), self.labels[self.order[step]]


def draw_batches(
    data: Labelled,
    settings: params.FineTuning,
    generator: torch.Generator,
    augmentation: params.Augmentation | None = None,
) -> Batches:
    """Batches of images and labels, drawn with replacement, for as many steps as the settings say.

    Args:
        data: images and labels.
        settings: steps and batch size.
        generator: of the draws, and of the distortions.
        augmentation: distorts each drawn image on its own, the same for all arms; None leaves images as they are.
    """
    images, labels = data
    order = torch.randint(len(labels), (settings.steps, settings.batch_size), generator=generator)
    if augmentation is None:
        return Batches(images, labels, order)
    drawn = order.flatten()
    distorted = augment(in_unit_range(images[drawn]), augmentation, generator)
    return Batches(distorted, labels[drawn], torch.arange(len(drawn)).reshape(order.shape))


def one_rate(settings: params.FineTuning, learning_rate: float, weight_decay: float) -> params.Optimisation:
    """The optimiser of fine-tuning at one learning rate and decay."""
    return params.Optimisation(
        optimizer=settings.optimizer,
        momentum=settings.momentum,
        batch_size=settings.batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
    )


def fine_tune(
    classifier: nn.Module,
    loss_of_step: Callable[[nn.Module, int], Float32[Tensor, ""]],
    steps: int,
    settings: params.Optimisation,
    machine: Machine,
    description: str,
) -> nn.Module:
    """A fine-tuned copy of the classifier.

    Batch norm keeps its statistics (evaluation mode), so that the loss on one batch does not depend on what
    else is in the step.

    Args:
        classifier: left as it is.
        loss_of_step: loss of the copy in step number i.
        steps: optimiser steps.
        settings: optimiser.
        machine: device and precision.
        description: shown by the progress bar.
    """
    tuned = copy.deepcopy(classifier).eval()
    optimizer = make_optimizer(tuned, settings)

    def loss_of(_: Tensor, step: int) -> Tensor:
        with machine.autocast():
            return loss_of_step(tuned, step)

    with steps_bar(description, steps) as progress:
        # Large lambdas may destroy the network: that is a result of the sweep, not an error.
        run_steps(torch.arange(steps), loss_of, optimizer, None, progress, stop_when_diverged=False)
    return tuned


def logits_of(classifier: nn.Module, *images: Float32[Tensor, "_images channels height width"]) -> list[Tensor]:
    """Logits of each batch of images, all in one forward pass."""
    together = torch.cat(images).to(device_of(classifier))
    return list(classifier(together).float().split([len(part) for part in images]))


def cross_entropy(logits: Float32[Tensor, "batch classes"], labels: Int64[Tensor, "batch"], smoothing: float) -> Tensor:
    """Mean cross-entropy in nats; `smoothing` is the share of the target that is spread over all classes."""
    return functional.cross_entropy(logits, labels.to(logits.device), label_smoothing=smoothing)


def correct(
    classifier: nn.Module,
    training: Batches,
    regions: Batches | None,
    lambda_: float,
    settings: params.Correct,
    recipe: params.TrainClassifier | CorrectOwn,
    machine: Machine,
    description: str,
) -> nn.Module:
    """Fine-tuned copy for the loss CE(training batch) + lambda * CE(region batch) (paper, correction step).

    Args:
        classifier: left as it is.
        training: the original training data, distorted as `recipe` says.
        regions: decoded region samples, labelled by the annotators; not needed where `lambda_` is 0.
        lambda_: weight of the regions; 0 is continued training on the same batches: the control.
        settings: optimiser and learning rate.
        recipe: how the classifier was trained; its weight decay and, on the training batches, its label smoothing.
        machine: device and precision.
        description: shown by the progress bar.
    """

    def loss_of_step(tuned: nn.Module, step: int) -> Tensor:
        images, labels = training.at(step)
        if lambda_ == 0:
            return cross_entropy(logits_of(tuned, images)[0], labels, recipe.label_smoothing)
        assert regions is not None
        region_images, region_labels = regions.at(step)
        logits, region_logits = logits_of(tuned, images, region_images)
        region_loss = cross_entropy(region_logits, region_labels, 0.0)
        return cross_entropy(logits, labels, recipe.label_smoothing) + lambda_ * region_loss

    optimisation = one_rate(settings, settings.learning_rate, recipe.weight_decay)
    return fine_tune(classifier, loss_of_step, len(training.order), optimisation, machine, description)


def finetune_baseline(
    classifier: nn.Module,
    mistakes: Batches,
    learning_rate: float,
    settings: params.FinetuneBaseline,
    machine: Machine,
    description: str,
) -> nn.Module:
    """Copy fine-tuned on only the annotated mistakes (the paper's baseline).

    Args:
        classifier: left as it is.
        mistakes: images that annotators call classifier mistakes, with the annotators' labels.
        learning_rate: of this arm.
        settings: optimiser.
        machine: device and precision.
        description: shown by the progress bar.
    """
    optimisation = one_rate(settings, learning_rate, settings.weight_decay)

    def loss_of_step(tuned: nn.Module, step: int) -> Tensor:
        images, labels = mistakes.at(step)
        return cross_entropy(logits_of(tuned, images)[0], labels, 0.0)

    return fine_tune(classifier, loss_of_step, len(mistakes.order), optimisation, machine, description)


def classified_right(classifier: nn.Module, data: dict[str, Labelled]) -> dict[str, Float32[Tensor, "_images"]]:
    """Of images and labels by name: 1 where an image is classified as its label, 0 where not.

    NaN throughout for a network that has diverged, that is, one with a logit that is NaN or infinite: it names no
    class, though the place of the highest NaN would be one.
    """
    logits = {name: predict(classifier, images) for name, (images, _) in data.items()}
    if not all(part.isfinite().all() for part in logits.values()):
        return {name: torch.full((len(part),), torch.nan) for name, part in logits.items()}
    return {name: (part.argmax(1) == data[name][1]).float() for name, part in logits.items()}


def has_diverged(right: dict[str, Float32[Tensor, "_images"]]) -> bool:
    """Whether `classified_right` looked at a network that has diverged."""
    return any(bool(part.isnan().any()) for part in right.values())


def accuracies(right: dict[str, Float32[Tensor, "_images"]]) -> dict[str, float]:
    """Share that is right by name, from `classified_right`, as `<name>_accuracy`.

    NaN where there is no image, and of a network that has diverged.
    """
    return {f"{name}_accuracy": float(part.mean()) for name, part in right.items()}


def choose_arm(arms: list[dict[str, float]], start_validation_accuracy: float, maximum_drop: float) -> int | None:
    """Position of the arm to use, chosen only on validation data; None if no arm has accuracies.

    An arm lacks them (NaN) where its network has diverged, and every arm lacks those on regions where there are none.
    Among the arms whose validation accuracy is at most `maximum_drop` below the start: the one of highest
    accuracy on the regions' validation draws, then of highest validation accuracy, then the first. If no arm
    keeps that much: the one of highest validation accuracy.
    """
    validation = np.array([arm["validation_accuracy"] for arm in arms])
    regions = np.array([arm["region_validation_accuracy"] for arm in arms])
    measured = ~np.isnan(validation) & ~np.isnan(regions)
    if not measured.any():
        return None
    kept = measured & (validation >= start_validation_accuracy - maximum_drop)
    if not kept.any():
        return int(np.where(measured, validation, -1.0).argmax())
    found = np.where(kept, regions, -1.0)
    return int(np.where(found == found.max(), validation, -1.0).argmax())


def label_regions(
    codes: Float32[np.ndarray, "regions samples latent"],
    labels: Shaped[np.ndarray, "regions"],
    accepted: Int64[np.ndarray, "accepted"],
) -> tuple[Float32[Tensor, "accepted*samples latent"], Int64[Tensor, "accepted*samples"]]:
    """Codes and labels of the accepted regions' draws, region by region.

    Args:
        codes: draws of every region.
        labels: one whole number per region; of any type, as a column without rows has none.
        accepted: numbers of the accepted regions.
    """
    chosen = torch.from_numpy(codes[accepted])
    repeated = torch.from_numpy(labels[accepted].astype(np.int64)).repeat_interleave(codes.shape[1])
    return chosen.reshape(-1, codes.shape[2]), repeated


def accuracy_by_region(right: Float32[Tensor, "images"], regions: int) -> list[float]:
    """Share that is right, from `classified_right`, in each of `regions` equal, consecutive parts."""
    return right.reshape(regions, -1).mean(1).tolist() if regions else []
