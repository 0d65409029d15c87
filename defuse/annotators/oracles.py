"""The annotators' networks: their doubts, and the confidence below which they say "not recognisable"."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from defuse.core import params
from defuse.method.annotation import ABSTAIN, Judgement, judge_region
from defuse.models.evaluation import decode, predict
from defuse.models.subject import Subject


@dataclass(frozen=True)
class Annotators:
    """The oracles, and what they look at the images of.

    Attributes:
        subject: classifier and VAE.
        oracles: the annotators' networks.
        thresholds: confidence below which each says "not recognisable".
    """

    subject: Subject
    oracles: list[nn.Module]
    thresholds: list[float]

    def look(
        self, codes: np.ndarray, slip_rate: float = 0.0, slips: np.random.Generator | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Votes int64 (N, oracles) and predictions int64 (N,) on decoded codes, float32 (N, latent_dim).

        Args:
            slip_rate: probability of a human slip in each vote.
            slips: draws them; None for none.
        """
        images = decode(self.subject.vae, torch.from_numpy(codes))
        logits = predict(self.subject.classifier, images)
        votes = cast_votes(self.oracles, self.thresholds, images)
        if slips is not None:
            votes = slip(votes, slip_rate, logits.shape[1], slips)
        return votes, logits.argmax(1).numpy()


def slip(votes: np.ndarray, rate: float, classes: int, generator: np.random.Generator) -> np.ndarray:
    """Replace each vote, with probability `rate`, by another class drawn at random: human slips."""
    slipped = generator.random(votes.shape) < rate
    other = (votes + generator.integers(1, classes, votes.shape)) % classes
    return np.where(slipped & (votes != ABSTAIN), other, votes)


def judge_regions(
    annotators: Annotators, shown: np.ndarray, settings: params.Annotate, slips: np.random.Generator | None = None
) -> list[Judgement]:
    """What the annotators say of each region by its shown draws, codes float32 (R, S, latent_dim).

    Args:
        annotators: oracles and networks.
        settings: thresholds and the rate of slips.
        slips: draws human slips; None for none.
    """
    looked = (annotators.look(codes, settings.slip_rate, slips) for codes in shown)
    return [judge_region(votes, predictions, settings.minimum_agreement, settings) for votes, predictions in looked]


def confidence(logits: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Most likely class int64 (N,) and its softmax probability float32 (N,) of logits (N, classes)."""
    highest = torch.softmax(logits, 1).max(1)
    return highest.indices.numpy(), highest.values.numpy()


def blends(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Half-and-half mixtures of two images of different classes: images without a right label.

    Args:
        images: float32 (N, C, H, W).
        labels: int64 (N,).
        generator: draws the partners.

    Returns:
        float32 (M, C, H, W), M the number of drawn pairs whose labels differ.
    """
    partners = torch.randperm(len(images), generator=generator)
    differ = labels != labels[partners]
    return (images[differ] + images[partners][differ]) / 2


def calibrate_threshold(logits: Tensor, recognised: float) -> float:
    """Confidence that the share `recognised` of real images reaches, by an oracle's logits (N, classes) of them."""
    return float(np.quantile(confidence(logits)[1], 1 - recognised))


def vote(logits: Tensor, threshold: float) -> np.ndarray:
    """An oracle's label of each image, or ABSTAIN below its threshold, int64 (N,), by its logits (N, classes)."""
    labels, certainty = confidence(logits)
    return np.where(certainty >= threshold, labels, ABSTAIN)


def cast_votes(oracles: list[nn.Module], thresholds: list[float], images: Tensor) -> np.ndarray:
    """Each oracle's label of each image float32 (N, C, 32, 32), or ABSTAIN, int64 (N, oracles)."""
    if len(images) == 0:
        return np.empty((0, len(oracles)), np.int64)
    votes = [vote(predict(oracle, images), threshold) for oracle, threshold in zip(oracles, thresholds)]
    return np.stack(votes, axis=1)
