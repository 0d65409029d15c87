"""Regions as images: what annotators are shown, what is trained on, and what is measured."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from defuse.annotators.oracles import Annotators
from defuse.core import params
from defuse.core.random_streams import Streams
from defuse.core.statistics import share
from defuse.core.verdicts import RegionVerdict
from defuse.data.pixels import to_bytes
from defuse.data.prepared import Labelled
from defuse.method.annotation import ABSTAIN, Judgement, consensus, judge_region, purity
from defuse.method.distillation import Regions, sample_regions
from defuse.models.autoencoder import VAE
from defuse.models.evaluation import decode
from defuse.studies.rivals import NOTHING, Rival, split_by_seed

ImageList = list[Tensor]  # of each region its images, float32 (N, C, H, W) in [0, 1]; N may differ


@dataclass(frozen=True)
class RegionImages:
    """Images of regions by purpose; each list runs over the regions.

    Attributes:
        shown: to the annotators, who judge the region by them.
        correction: to retrain on, where the region is accepted.
        validation: to choose lambda by.
        test: to measure on.
    """

    shown: ImageList
    correction: ImageList
    validation: ImageList
    test: ImageList


@dataclass(frozen=True)
class Annotated:
    """A region as the annotators saw it.

    Attributes:
        votes: on the images shown, labels or ABSTAIN.
        predictions: the classifier's, on the same.
        judgement: what follows from them.
    """

    votes: Int64[np.ndarray, "shown oracles"]
    predictions: Int64[np.ndarray, "shown"]
    judgement: Judgement

    @property
    def accepted(self) -> bool:
        """Whether the region is a bug."""
        return self.judgement.verdict == RegionVerdict.ACCEPTED


def draw_images(vae: VAE, regions: Regions, distill: params.Distill, streams: Streams) -> RegionImages:
    """Decoded draws of each region, as many for each purpose as the paper's regions have."""
    return RegionImages(
        decoded_draws(vae, regions, distill.shown_samples, distill.tau, streams.numpy("shown")),
        decoded_draws(vae, regions, distill.correction_samples, distill.tau, streams.numpy("correction")),
        decoded_draws(vae, regions, distill.validation_samples, distill.tau, streams.numpy("validation")),
        fresh_draws(vae, regions, distill, streams),
    )


def fresh_draws(vae: VAE, regions: Regions, distill: params.Distill, streams: Streams) -> ImageList:
    """The decoded draws of each region that are neither shown nor trained on."""
    return decoded_draws(vae, regions, distill.test_samples, distill.tau, streams.numpy("test"))


def decoded_draws(vae: VAE, regions: Regions, count: int, tau: float, generator: np.random.Generator) -> ImageList:
    """Images of `count` draws of each region, from `sample_regions`."""
    return [decode(vae, torch.from_numpy(codes)) for codes in sample_regions(regions, count, tau, generator)]


def member_images(
    images: Float32[Tensor, "mistakes channels height width"],
    seed_index: Int64[np.ndarray, "mistakes"],
    assignment: Int64[np.ndarray, "mistakes"],
    regions: int,
    samples: params.Samples,
    generator: np.random.Generator,
) -> RegionImages:
    """Members of each region: half to show and retrain on, a quarter to choose lambda by, the rest to test.

    They are divided by seed image, and annotators are shown one of each. Of each purpose there are at most as many as
    of the draws.

    Args:
        images: of the mistakes.
        seed_index: number of each one's seed image; those of one are near-copies and stay together.
        assignment: region of each mistake, or -1.
        regions: how many there are.
        samples: how many for each purpose.
        generator: of the division.
    """
    purposes: dict[str, list[Tensor]] = {"shown": [], "correction": [], "validation": [], "test": []}
    for region in range(regions):
        own = generator.permutation(np.flatnonzero(assignment == region))
        half, rest = (own[part] for part in split_by_seed(seed_index[own], (len(own) + 1) // 2, generator))
        quarter, last = (rest[part] for part in split_by_seed(seed_index[rest], (len(rest) + 1) // 2, generator))
        one_of_each = half[np.sort(np.unique(seed_index[half], return_index=True)[1])]
        chosen = {
            "shown": one_of_each[: samples.shown_samples],
            "correction": half[: samples.correction_samples],
            "validation": quarter[: samples.validation_samples],
            "test": last[: samples.test_samples],
        }
        for purpose, numbers in chosen.items():
            purposes[purpose].append(images[torch.from_numpy(numbers)])
    return RegionImages(**purposes)


def annotate_regions(
    annotators: Annotators,
    shown: ImageList,
    settings: params.Annotate,
    abstention: bool,
    slips: np.random.Generator,
) -> list[Annotated]:
    """What annotators say of each region by the images that they are shown.

    Args:
        annotators: oracles and classifier.
        shown: images of each region.
        settings: thresholds and the rate of slips.
        abstention: whether annotators may say "not recognisable".
        slips: draws human slips.
    """
    asked = annotators if abstention else replace(annotators, thresholds=[0.0] * len(annotators.oracles))
    annotated = []
    for images in shown:
        votes, predictions = asked.annotate_images(images, settings.slip_rate, slips)
        annotated.append(
            Annotated(votes, predictions, judge_region(votes, predictions, settings.minimum_agreement, settings))
        )
    return annotated


def labelled(images: ImageList, annotated: list[Annotated]) -> Labelled:
    """The images of the accepted regions, each with its region's label."""
    chosen = [(part, region.judgement.label) for part, region in zip(images, annotated) if region.accepted]
    if not chosen:
        return NOTHING
    labels = [torch.full((len(part),), label, dtype=torch.int64) for part, label in chosen]
    return torch.cat([part for part, _ in chosen]), torch.cat(labels)


def region_rival(images: RegionImages, annotated: list[Annotated]) -> Rival:
    """What there is to train on after the annotators labelled regions; all images shown are paid for."""
    return Rival(
        labelled(images.correction, annotated),
        labelled(images.validation, annotated),
        sum(len(part) for part in images.shown),
        labelled(images.test, annotated),
    )


def failure_and_purity(
    annotators: Annotators, images: Float32[Tensor, "images channels height width"]
) -> tuple[float, float]:
    """Of the images with a consensus label, the share where it contradicts the classifier; and `purity`.

    NaN without such an image, and without any.
    """
    if len(images) == 0:
        return float("nan"), float("nan")
    votes, predictions = annotators.annotate_images(images)
    labels = consensus(votes, annotators.consensus)
    return share(labels != predictions, labels != ABSTAIN), purity(labels, predictions)


def region_rows(
    annotators: Annotators,
    annotated: list[Annotated],
    members: ImageList,
    draws: ImageList,
    member_counts: Int64[np.ndarray, "regions"],
    mistakes: int,
    measured_on_members: bool,
) -> list[dict[str, Any]]:
    """One row per region.

    Args:
        annotators: measure failure and purity; they may always abstain there.
        annotated: the regions.
        members: held-out members of each region.
        draws: fresh draws of each region.
        member_counts: mistakes in each region.
        mistakes: in all.
        measured_on_members: whether members were shown, so that purity is theirs; else that of the draws.

    Returns:
        region, the judgement's fields, prediction (the most frequent on the images shown), members, share_of_mistakes,
        member_failure, draw_failure and purity, of `failure_and_purity`.
    """
    rows = []
    for number, region in enumerate(annotated):
        member_failure, member_purity = failure_and_purity(annotators, members[number])
        draw_failure, draw_purity = failure_and_purity(annotators, draws[number])
        rows.append(
            {
                "region": number,
                **vars(region.judgement),
                "prediction": int(np.bincount(region.predictions).argmax()),
                "members": int(member_counts[number]),
                "share_of_mistakes": member_counts[number] / mistakes,
                "member_failure": member_failure,
                "draw_failure": draw_failure,
                "purity": member_purity if measured_on_members else draw_purity,
            }
        )
    return rows


REGION_COLUMNS = (
    *("reading", "region", "label", "agreement", "abstention", "failures", "verdict", "prediction", "members"),
    *("share_of_mistakes", "member_failure", "draw_failure", "purity"),
)


def reading_row(rows: list[dict[str, Any]], labels_asked: int) -> dict[str, float]:
    """A reading's regions in numbers.

    Returns:
        regions, and by verdict accepted, no_agreement, not_recognisable_regions and false_alarms; mean_agreement and
        mean_purity over the regions, member_failure and draw_failure over the accepted ones, NaN without any;
        labels_asked.
    """
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(REGION_COLUMNS[1:]))
    verdicts, accepted = table.verdict.value_counts(), table[table.verdict == RegionVerdict.ACCEPTED]
    names = {
        "accepted": RegionVerdict.ACCEPTED,
        "no_agreement": RegionVerdict.NO_AGREEMENT,
        "not_recognisable_regions": RegionVerdict.NOT_RECOGNISABLE,
        "false_alarms": RegionVerdict.FALSE_ALARM,
    }
    return {
        "regions": len(table),
        **{name: int(verdicts.get(verdict, 0)) for name, verdict in names.items()},
        "mean_agreement": float(table.agreement.astype(float).mean()),
        "mean_purity": float(table.purity.astype(float).mean()),
        "member_failure": float(accepted.member_failure.astype(float).mean()),
        "draw_failure": float(accepted.draw_failure.astype(float).mean()),
        "labels_asked": labels_asked,
    }


def shown_arrays(
    images: ImageList, annotated: list[Annotated], order: Int64[np.ndarray, "chosen"], count: int, blank: Tensor
) -> dict[str, np.ndarray]:
    """What annotators were shown of the regions `order`, for figures.

    Args:
        images: shown, of each region.
        annotated: the regions.
        order: numbers of the regions.
        count: images of each region; where there are fewer, the rest is black and has no prediction and no vote.
        blank: an image (channels, height, width), for the shape.

    Returns:
        region int64 (S,), images uint8 (S, count, H, W, C), shown int64 (S,), prediction int64 (S, count), votes
        int64 (S, count, oracles).
    """
    channels, height, width = blank.shape
    oracles = annotated[0].votes.shape[1] if annotated else 0
    arrays = {
        "region": order,
        "images": np.zeros((len(order), count, height, width, channels), np.uint8),
        "shown": np.array([len(images[region]) for region in order], np.int64),
        "prediction": np.full((len(order), count), ABSTAIN),
        "votes": np.full((len(order), count, oracles), ABSTAIN),
    }
    for place, region in enumerate(order):
        pictures, number = images[region], len(images[region])
        arrays["images"][place, :number] = to_bytes(pictures)
        arrays["prediction"][place, :number] = annotated[region].predictions
        arrays["votes"][place, :number] = annotated[region].votes
    return arrays
