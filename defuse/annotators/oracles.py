"""The annotators' networks: their doubts, and the confidence below which they say "not recognisable"."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from defuse.core import params
from defuse.method.annotation import ABSTAIN, Judgement, judge_region
from defuse.models.evaluation import decode, predict
from defuse.models.subject import Subject


@dataclass(frozen=True)
class Annotators:
    """The oracles, and the networks whose images they label.

    Attributes:
        subject: classifier and VAE.
        oracles: the annotators' networks.
        thresholds: confidence below which each says "not recognisable".
        consensus: share of them that must name a single image alike for it to have a label.
    """

    subject: Subject
    oracles: list[nn.Module]
    thresholds: list[float]
    consensus: float

    def annotate(
        self,
        codes: Float32[np.ndarray, "images latent"],
        slip_rate: float = 0.0,
        slips: np.random.Generator | None = None,
    ) -> tuple[Int64[np.ndarray, "images oracles"], Int64[np.ndarray, "images"]]:
        """Votes and predictions on decoded codes, as `annotate_images` gives them on images."""
        return self.annotate_images(decode(self.subject.vae, torch.from_numpy(codes)), slip_rate, slips)

    def annotate_images(
        self,
        images: Float32[Tensor, "images channels height width"],
        slip_rate: float = 0.0,
        slips: np.random.Generator | None = None,
    ) -> tuple[Int64[np.ndarray, "images oracles"], Int64[np.ndarray, "images"]]:
        """The oracles' votes and the classifier's predictions.

        Args:
            images: what to show, in [0, 1].
            slip_rate: probability of a human slip in each vote.
            slips: draws them; None for none.
        """
        logits = predict(self.subject.classifier, images)
        votes = cast_votes(self.oracles, self.thresholds, images)
        if slips is not None:
            votes = slip(votes, slip_rate, logits.shape[1], slips)
        return votes, logits.argmax(1).numpy()


def slip(
    votes: Int64[np.ndarray, "images oracles"], rate: float, classes: int, generator: np.random.Generator
) -> Int64[np.ndarray, "images oracles"]:
    """Replace each vote, with probability `rate`, by another class drawn at random: human slips."""
    slipped = generator.random(votes.shape) < rate
    other = (votes + generator.integers(1, classes, votes.shape)) % classes
    return np.where(slipped & (votes != ABSTAIN), other, votes)


def judge_regions(
    annotators: Annotators,
    shown: Float32[np.ndarray, "regions samples latent"],
    settings: params.Annotate,
    slips: np.random.Generator | None = None,
) -> list[Judgement]:
    """What the annotators say of each region by its shown draws.

    Args:
        annotators: oracles and networks.
        shown: codes of the draws.
        settings: thresholds and the rate of slips.
        slips: draws human slips; None for none.
    """
    annotated = (annotators.annotate(codes, settings.slip_rate, slips) for codes in shown)
    return [judge_region(votes, predictions, settings.minimum_agreement, settings) for votes, predictions in annotated]


def confidence(
    logits: Float[Tensor, "images classes"],
) -> tuple[Int64[np.ndarray, "images"], Float[np.ndarray, "images"]]:
    """Most likely class and its softmax probability."""
    highest = torch.softmax(logits, 1).max(1)
    return highest.indices.numpy(), highest.values.numpy()


def blends(
    images: Float32[Tensor, "images channels height width"], labels: Int64[Tensor, "images"], generator: torch.Generator
) -> Float32[Tensor, "pairs channels height width"]:
    """Half-and-half mixtures of two images of different classes: images without a right label.

    Args:
        images: in [0, 1].
        labels: their classes.
        generator: draws the partners.

    Returns:
        One image for each drawn pair whose labels differ.
    """
    partners = torch.randperm(len(images), generator=generator)
    differ = labels != labels[partners]
    return (images[differ] + images[partners][differ]) / 2


def calibrate_threshold(logits: Float[Tensor, "images classes"], recognised: float) -> float:
    """Confidence that the share `recognised` of real images reaches, by an oracle's logits of them."""
    return float(np.quantile(confidence(logits)[1], 1 - recognised))


def vote(logits: Float[Tensor, "images classes"], threshold: float) -> Int64[np.ndarray, "images"]:
    """An oracle's label of each image by its logits, or ABSTAIN below its threshold."""
    labels, certainty = confidence(logits)
    return np.where(certainty >= threshold, labels, ABSTAIN)


def cast_votes(
    oracles: list[nn.Module], thresholds: list[float], images: Float32[Tensor, "images channels height width"]
) -> Int64[np.ndarray, "images oracles"]:
    """Each oracle's label of each image, or ABSTAIN."""
    if len(images) == 0:
        return np.empty((0, len(oracles)), np.int64)
    votes = [vote(predict(oracle, images), threshold) for oracle, threshold in zip(oracles, thresholds)]
    return np.stack(votes, axis=1)
