"""The checker of the repaired reading: a second classifier that tells mistakes of the classifier from other images.

Where two classifiers disagree, one of them is wrong (differential testing; Pei and others 2017). The search takes the
seed image's label for the truth, though noise may have changed what the image shows. The checker keeps a mistake only
where it still sees that label. It is trained as an annotator's network is, and is none: no label of the study is its.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor, nn

from defuse.annotators.oracles import blends, confidence
from defuse.core import params
from defuse.data.prepared import Labelled
from defuse.models.evaluation import predict


def label_probability(
    network: nn.Module, images: Float32[Tensor, "images channels height width"], labels: Int64[Tensor, "images"]
) -> Float32[np.ndarray, "images"]:
    """Softmax probability that the network gives each image's label."""
    return torch.softmax(predict(network, images), 1).gather(1, labels[:, None])[:, 0].numpy()


@dataclass(frozen=True)
class Checker:
    """A second classifier, and the probability from which it counts as seeing a label.

    Attributes:
        network: its logits, of images in [0, 1].
        threshold: probability of a label from which an image passes as that label.
        originals_passed: share of validation images that pass as their own label.
        blends_passed: share of blends of two of them that pass as some class; NaN where there are none.
        works: whether that share is small enough; a checker that does not work keeps nothing.
    """

    network: nn.Module
    threshold: float
    originals_passed: float
    blends_passed: float
    works: bool

    @property
    def doubt(self) -> str:
        """What a stage's closing line says of a checker that does not work; empty for one that works."""
        return "" if self.works else "; the checker cannot work: too many blends of two images pass it"

    def passes(
        self, images: Float32[Tensor, "images channels height width"], labels: Int64[np.ndarray, "images"]
    ) -> Bool[np.ndarray, "images"]:
        """Which images it sees their label in; none where it does not work."""
        if not self.works or len(images) == 0:
            return np.zeros(len(images), bool)
        return label_probability(self.network, images, torch.from_numpy(labels)) >= self.threshold


def calibrate_checker(
    network: nn.Module, validation: Labelled, settings: params.Checking, generator: torch.Generator
) -> Checker:
    """Set the threshold on only validation images: no annotator is asked.

    Half-and-half blends of two images of different classes have no right label, as images on the way from one class to
    another have none. The threshold is where the share `blends_passed` of them still passes as some class; where fewer
    than `minimum_originals` of the validation images would pass as their own label, it is where these pass. The checker
    works if at most the share `maximum_blends` of the blends then passes.

    Args:
        network: of the checker.
        validation: images and true labels.
        settings: the shares.
        generator: draws the partners of the blends.
    """
    blended, originals = blends(*validation, generator), label_probability(network, *validation)
    if not len(blended):
        return Checker(network, 1.0, float((originals >= 1.0).mean()), float("nan"), works=False)
    sure = confidence(predict(network, blended))[1]
    wanted = np.quantile(originals, 1 - settings.minimum_originals, method="lower")
    threshold = float(min(np.quantile(sure, 1 - settings.blends_passed), wanted))
    through = float((sure >= threshold).mean())
    return Checker(
        network, threshold, float((originals >= threshold).mean()), through, through <= settings.maximum_blends
    )
