"""The annotators' networks: their doubts, and the confidence below which they say "not recognisable"."""

import numpy as np
import torch
from torch import Tensor, nn

from defuse.training import predict

ABSTAIN = -1


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


def majority(votes: np.ndarray) -> np.ndarray:
    """Label that more than half of the voters gave, or ABSTAIN, int64 (N,) of votes int64 (N, voters)."""
    result = np.full(len(votes), ABSTAIN, np.int64)
    for label in np.unique(votes[votes != ABSTAIN]):
        result[(votes == label).sum(1) * 2 > votes.shape[1]] = label
    return result
