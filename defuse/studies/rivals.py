"""Rivals of the regions at the same labelling budget: other clusterings, single mistakes, more training."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor, nn
from tqdm import tqdm

from defuse.core import params
from defuse.core.random_streams import Streams
from defuse.data.prepared import SIDE, Labelled
from defuse.method.correction import (
    Batches,
    accuracies,
    choose_arm,
    classified_right,
    correct,
    draw_batches,
    finetune_baseline,
)
from defuse.models.subject import Subject

NOTHING: Labelled = (torch.zeros((0, 1, SIDE, SIDE)), torch.zeros(0, dtype=torch.int64))
BEFORE, BASELINE = "before", "baseline: mistakes alone"
SINGLE_MISTAKES = "single mistakes"  # the rival whose images the baseline trains on


@dataclass(frozen=True)
class Rival:
    """Labelled images to train on, beside the training data or alone.

    Attributes:
        training: what it trains on.
        validation: labelled in the same way, to choose lambda or learning rate by.
        labels_asked: images that the annotators label for it.
        test: of its own kind, labelled in the same way, to measure on; None where it has no such images.
    """

    training: Labelled
    validation: Labelled
    labels_asked: int
    test: Labelled | None = None


def split_by_seed(
    seed_index: Int64[np.ndarray, "mistakes"], count: int, generator: np.random.Generator
) -> tuple[Int64[np.ndarray, "first"], Int64[np.ndarray, "rest"]]:
    """Divide mistakes so that those of one seed image, which are near-copies, stay together.

    Args:
        seed_index: number of each mistake's seed image.
        count: of mistakes that the first part holds at most; it ends before the first seed image that no longer fits.
        generator: draws the order of the seed images.

    Returns:
        Positions of the mistakes in the first part and in the rest, increasing.
    """
    seeds, seed = np.unique(seed_index, return_inverse=True)
    place = generator.permutation(len(seeds))
    taken = np.cumsum(np.bincount(place[seed], minlength=len(seeds)))  # with each further seed image
    first = place[seed] < np.searchsorted(taken, count, side="right")
    return np.flatnonzero(first), np.flatnonzero(~first)


def single_mistakes(
    images: Float32[Tensor, "images channels height width"],
    labels: Int64[np.ndarray, "images"],
    is_mistake: Bool[np.ndarray, "images"],
    seed_index: Int64[np.ndarray, "images"],
    validation_share: float,
    generator: np.random.Generator,
) -> Rival:
    """The classifier's mistakes among images that annotators labelled one by one.

    Args:
        images: all that were labelled.
        labels: the annotators' consensus.
        is_mistake: which of them annotators call the classifier's mistake.
        seed_index: number of each one's seed image.
        validation_share: share of those mistakes, at least one seed image of several, kept to choose lambda by.
        generator: draws the seed images of that share.
    """
    chosen = np.flatnonzero(is_mistake)
    training = len(chosen) - round(validation_share * len(chosen))
    if validation_share > 0 and len(np.unique(seed_index[chosen])) > 1:
        training = min(training, len(chosen) - 1)
    trained_on, kept = (
        (images[torch.from_numpy(chosen[part])], torch.from_numpy(labels[chosen[part]]))
        for part in split_by_seed(seed_index[chosen], training, generator)
    )
    return Rival(trained_on, kept, len(labels))


def compare_rivals(
    subject: Subject,
    training: dict[str, Batches],
    rivals: dict[str, Rival],
    data: dict[str, Labelled],
    settings: params.CompareReadings,
    correction: params.Correct,
    baseline: params.FinetuneBaseline,
    recipe: params.TrainClassifier,
    streams: Streams,
) -> list[dict[str, Any]]:
    """Fine-tune the classifier in each arm, from the same weights and for the same number of steps, and measure it.

    Lambda, or the baseline's learning rate, is chosen by `choose_arm` on validation data and the rival's own, within
    the accuracy drop that the arm's own settings allow; the other data of `data` are measured with the chosen network.

    Args:
        subject: its classifier is left as it is.
        training: batches of the training images, differently distorted, by the name of the arm that trains on them
            alone; the rivals train beside the first.
        rivals: what to train on beside the training images, by the arm's name; holds SINGLE_MISTAKES, on which one more
            arm, the paper's baseline, trains alone.
        data: what to measure accuracy on, by name; holds "validation".
        settings: the lambdas.
        correction: optimiser, steps and allowed drop of all arms but the baseline.
        baseline: optimiser, steps, allowed drop and learning rates of the baseline.
        recipe: how the classifier was trained, as for `correct`.
        streams: of the batches.

    Returns:
        One row per arm: arm, lambda (0 for training images alone), learning_rate, labels_asked, images (trained on,
        beside the training data), an accuracy for each of `data`, and on the rival's own test images
        own_before_accuracy, of the classifier, and own_accuracy. Lambda, learning rate and accuracies are None where an
        arm has no image to train on, or none to choose by, or diverges at each value; the last two also where the
        rival has no test images.
    """
    classifier, machine = subject.classifier, subject.machine
    start = accuracies(classified_right(classifier, {"validation": data["validation"]}))["validation_accuracy"]
    first = next(iter(training.values()))

    def own_batches(rival: Rival, settings: params.FineTuning) -> Batches:
        return draw_batches(rival.training, settings, streams.torch("own"))

    def with_lambda(rival: Rival, lambda_: float) -> nn.Module:
        batches = own_batches(rival, correction)
        return correct(classifier, first, batches, lambda_, correction, recipe, machine, f"lambda {lambda_:g}")

    def more_training(batches: Batches) -> nn.Module:
        return correct(classifier, batches, None, 0.0, correction, recipe, machine, "lambda 0")

    def at_rate(rival: Rival, rate: float) -> nn.Module:
        batches = own_batches(rival, baseline)
        return finetune_baseline(classifier, batches, rate, baseline, machine, f"baseline, rate {rate:g}")

    def row(
        arm: str, network: nn.Module | None, rival: Rival, validation: float | None = None, **chosen: float
    ) -> dict[str, Any]:
        names = [f"{name}_accuracy" for name in (*data, "own_before", "own")]
        measured: dict[str, Any] = dict.fromkeys(names)
        if network is not None:
            own = {} if rival.test is None or not len(rival.test[1]) else {"own": rival.test}
            known = {} if validation is None else {"validation_accuracy": validation}
            rest = {name: part for name, part in data.items() if f"{name}_accuracy" not in known}
            measured |= {**known, **accuracies(classified_right(network, {**rest, **own}))}
            measured |= accuracies(classified_right(classifier, {f"{name}_before": part for name, part in own.items()}))
        return {
            "arm": arm,
            "lambda": None,
            "learning_rate": None,
            **chosen,
            "labels_asked": rival.labels_asked,
            "images": len(rival.training[1]),
            **measured,
        }

    def best_row(
        arm: str,
        rival: Rival,
        key: str,
        tune: Callable[[Rival, float], nn.Module],
        values: Iterable[float],
        maximum_drop: float,
    ) -> dict[str, Any]:
        if not len(rival.training[1]) or not len(rival.validation[1]):
            return row(arm, None, rival)
        networks = {value: tune(rival, value) for value in values}
        validation = {"validation": data["validation"], "region_validation": rival.validation}
        measured = [accuracies(classified_right(network, validation)) for network in networks.values()]
        best = choose_arm(measured, start, maximum_drop)
        if best is None:
            return row(arm, None, rival)
        value, network = list(networks.items())[best]
        return row(arm, network, rival, measured[best]["validation_accuracy"], **{key: value})

    nothing = Rival(NOTHING, NOTHING, 0)
    rows = [
        row(BEFORE, classifier, nothing),
        *(row(arm, more_training(batches), nothing, **{"lambda": 0.0}) for arm, batches in training.items()),
    ]
    for arm, rival in tqdm(rivals.items(), desc="rivals", disable=None, leave=False):
        drop = correction.maximum_accuracy_drop
        rows.append(best_row(arm, rival, "lambda", with_lambda, settings.lambdas, drop))
    single, rates = rivals[SINGLE_MISTAKES], baseline.learning_rates
    rows.append(best_row(BASELINE, single, "learning_rate", at_rate, rates, baseline.maximum_accuracy_drop))
    return rows
