"""The one training loop, and evaluation. Images are in [0, 1]."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from defuse.core import params
from defuse.core.errors import DivergedError
from defuse.data.prepared import Labelled
from defuse.models.augmentation import augment
from defuse.models.checkpoints import Checkpoint, restore_checkpoint, save_checkpoint
from defuse.models.classifiers import Normalise
from defuse.models.evaluation import accuracy
from defuse.models.machine import Machine, to_machine

DIVERGENCE_CHECK = 50  # steps; a look at the loss makes a GPU wait


def make_optimizer(network: nn.Module, settings: params.Optimisation) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam, over all of a network's weights."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.momentum is not None:  # it belongs to SGD
        return torch.optim.SGD(network.parameters(), rate, settings.momentum, weight_decay=decay)
    return torch.optim.Adam(network.parameters(), rate, weight_decay=decay)


def training_steps(settings: params.Training, items: int) -> int:
    """Optimiser steps of a whole training on so many items."""
    return settings.epochs * max(1, items // settings.batch_size)


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: params.Training, items: int
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """One-cycle learning rate (Smith 2018) over all steps, or None for a constant one; momentum stays as it is."""
    if settings.schedule == "constant":
        return None
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, training_steps(settings, items), pct_start=0.3, cycle_momentum=False
    )


def epoch_batches(items: int, batch_size: int, generator: torch.Generator) -> Iterator[Int64[Tensor, "batch"]]:
    """Index batches of one epoch in random order; a last incomplete batch is left out."""
    order = torch.randperm(items, generator=generator)
    batch_size = min(batch_size, items)
    return iter(order[: items - items % batch_size].split(batch_size))


def run_steps(
    batches: Iterable[Tensor],
    loss_of: Callable[[Tensor, int], Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler | None,
    progress: tqdm,
    steps_before: int = 0,
    stop_when_diverged: bool = True,
) -> float:
    """One optimiser step for each batch; the training loop of classifier, VAE, oracles and correction.

    Args:
        batches: index batches, int64 (B,).
        loss_of: scalar loss of an index batch in step number i, counted from 0 over the whole training.
        optimizer: over the weights of the network, in the mode (training or evaluation) that the caller chose.
        schedule: stepped after each batch, or None.
        progress: bar to advance by one per step.
        steps_before: steps of the training that earlier calls made.
        stop_when_diverged: raise on a loss that is not finite; a sweep over extreme lambdas goes on instead.

    Returns:
        Mean loss over the batches.

    Raises:
        DivergedError: the loss is NaN or infinite.
    """
    total, count = torch.zeros(()), 0
    for batch in batches:
        loss = loss_of(batch, steps_before + count)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        total, count = total.to(loss.device) + loss.detach(), count + 1
        progress.update()
        if count % DIVERGENCE_CHECK == 0:
            progress.set_postfix(loss=f"{float(total) / count:.4g}", refresh=False)
            if stop_when_diverged and not torch.isfinite(total):
                break
    # Once a loss is not finite, the sum stays so.
    mean = float(total) / max(count, 1)
    if stop_when_diverged and not math.isfinite(mean):
        raise DivergedError(f"loss is {mean} after {steps_before + count} steps; lower learning_rate")
    return mean


def check_finite(network: nn.Module, epoch: int) -> None:
    """Check the weights and buffers of a network after an epoch: the last step may spoil them and no loss.

    Raises:
        DivergedError: naming the first tensor that holds NaN or infinity.
    """
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if not torch.isfinite(tensor).all():
            raise DivergedError(f"{name} holds NaN or infinity after epoch {epoch}; lower learning_rate")


def steps_bar(description: str, steps: int, done: int = 0) -> tqdm:
    """Progress bar over optimiser steps, of which some may be done; quiet where the output is no terminal."""
    return tqdm(total=steps, initial=done, desc=description, unit="step", disable=None, leave=False)


def run_epochs(
    network: nn.Module,
    items: int,
    loss_of: Callable[[Tensor, int], Tensor],
    measure: Callable[[], dict[str, Any]],
    settings: params.Training,
    generator: torch.Generator,
    description: str,
    checkpoint: Checkpoint | None,
) -> list[dict[str, Any]]:
    """Train a network for `settings.epochs` epochs, in place, going on where a checkpoint of this training ends.

    Args:
        network: on its machine.
        items: training images.
        loss_of: scalar loss of an index batch in step number i, counted from 0.
        measure: called after each epoch, with the network in evaluation mode, for further columns of the curve.
        settings: optimisation and epochs.
        generator: of batch order, and of all that `loss_of` draws; `measure` draws from it nothing.
        description: shown by the progress bar.
        checkpoint: written after each epoch; None to keep none.

    Returns:
        One row per epoch: epoch, training_loss, and what `measure` gives.

    Raises:
        DivergedError: the loss, a weight or a buffer is no finite number.
    """
    optimizer = make_optimizer(network, settings)
    schedule = make_schedule(optimizer, settings, items)
    curve = restore_checkpoint(checkpoint, network, optimizer, schedule, generator) if checkpoint else []
    steps = training_steps(settings, items)
    per_epoch = steps // settings.epochs
    with steps_bar(description, steps, len(curve) * per_epoch) as progress:
        for epoch in range(len(curve) + 1, settings.epochs + 1):
            progress.set_description(f"{description} epoch {epoch}/{settings.epochs}")
            network.train()
            batches = epoch_batches(items, settings.batch_size, generator)
            loss = run_steps(batches, loss_of, optimizer, schedule, progress, (epoch - 1) * per_epoch)
            check_finite(network, epoch)
            network.eval()
            curve.append({"epoch": epoch, "training_loss": loss, **measure()})
            if checkpoint:
                save_checkpoint(checkpoint, network, optimizer, schedule, generator, curve)
    network.eval()
    return curve


def train_classifier(
    classifier: nn.Sequential,
    training: Labelled,
    validation: Labelled,
    settings: params.TrainClassifier | params.TrainFeatures | params.TrainOracle | params.TrainChecker,
    machine: Machine,
    generator: torch.Generator,
    description: str,
    label_smoothing: float = 0.0,
    blend_fraction: float = 0.0,
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, Any]]:
    """Train a classifier, in place.

    A share `blend_fraction` of each batch is blended half by half with other images of the batch and labelled
    with both classes (mixup, Zhang et al. 2018): it teaches the oracles to doubt what lies between digits.

    Args:
        classifier: from `build_classifier`; its normalisation is fitted to the training images first.
        training: images and labels.
        validation: images and labels whose accuracy is recorded after each epoch.
        settings: optimisation, epochs and augmentation.
        machine: device and precision.
        generator: of batch order, augmentation and blends.
        description: shown by the progress bar.
        label_smoothing: share of the target spread over all classes.
        blend_fraction: share of each batch that is blended.
        checkpoint: of this training; None to keep none.

    Returns:
        One row per epoch: epoch, training_loss (nats per image), validation_accuracy.

    Raises:
        DivergedError: the loss, a weight or a buffer is no finite number.
    """
    normalise = classifier[0]
    assert isinstance(normalise, Normalise)
    normalise.fit(training[0])
    to_machine(classifier, machine)
    images, labels = (part.to(machine.device) for part in training)

    def loss_of(batch: Int64[Tensor, "batch"], step: int) -> Float32[Tensor, ""]:
        batch = batch.to(machine.device)
        inputs, targets = augment(images[batch], settings.augmentation, generator), labels[batch]
        blended = int(blend_fraction * len(batch))
        other = targets.clone()
        if blended:
            inputs = inputs.clone()
            partners = torch.arange(blended, 2 * blended, device=machine.device) % len(batch)
            inputs[:blended] = (inputs[:blended] + inputs[partners]) / 2
            other[:blended] = targets[partners]
        with machine.autocast():
            logits = classifier(inputs).float()
        loss = functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        if blended:
            loss = (loss + functional.cross_entropy(logits, other, label_smoothing=label_smoothing)) / 2
        return loss

    def measure() -> dict[str, Any]:
        return {"validation_accuracy": accuracy(classifier, *validation)}

    return run_epochs(classifier, len(images), loss_of, measure, settings, generator, description, checkpoint)
