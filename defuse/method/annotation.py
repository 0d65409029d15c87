"""Annotation: what annotators say of regions and of mistakes (paper, annotation; design decisions 5 and 12)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from defuse.core import params
from defuse.core.statistics import share, wilson_interval
from defuse.core.verdicts import Cause, RegionVerdict

if TYPE_CHECKING:
    import pandas as pd

ABSTAIN = -1  # a vote without a label
SEVERAL = -2  # a vote for several classes: neither a label nor an abstention
NO_VOTE = -3  # in place of a vote: the annotator was not asked, or did not get that far

# Columns of the table of regions.
REGION_COLUMNS = (
    "region",
    "weight",
    "label",
    "agreement",
    "abstention",
    "failures",
    "verdict",
    "prediction",
    "mistakes",
    "share_of_mistakes",
    "failure_rate",
    "failure_low",
    "failure_high",
    "oracle_failure_rate",
    "seed_label_agreement",
    "purity",
)


@dataclass(frozen=True)
class Annotations:
    """What annotators and classifier say of the same draws of each region.

    Attributes:
        votes: the annotators', labels, ABSTAIN, SEVERAL or NO_VOTE.
        predictions: the classifier's.
    """

    votes: Int64[np.ndarray, "regions samples oracles"]
    predictions: Int64[np.ndarray, "regions samples"]

    @classmethod
    def together(cls, annotated: list[tuple[np.ndarray, np.ndarray]], samples: int, oracles: int) -> "Annotations":
        """The annotations of single regions as one; there may be none."""
        votes = np.array([part for part, _ in annotated], np.int64).reshape(len(annotated), samples, oracles)
        return cls(votes, np.array([part for _, part in annotated], np.int64).reshape(len(annotated), samples))


@dataclass(frozen=True)
class Judgement:
    """What the annotators say of one region.

    Attributes:
        label: the most frequent label among the votes, or ABSTAIN where no vote has one.
        agreement: share of all votes for that label, all others counted as disagreement; 0 where no vote has a label,
            NaN without a vote.
        abstention: share of votes "not recognisable"; NaN without a vote.
        failures: share of the votes with a label that differ from the classifier's prediction; NaN without any.
        verdict: whether the region is a bug, or why not.
    """

    label: int
    agreement: float
    abstention: float
    failures: float
    verdict: RegionVerdict


def judge_region(
    votes: Int64[np.ndarray, "samples oracles"],
    predictions: Int64[np.ndarray, "samples"],
    minimum_agreement: float,
    settings: params.Acceptance,
) -> Judgement:
    """Accept a region as a bug, or say why not.

    The order of the checks is: recognisable, agreed upon, and wrongly classified; the last is the preprint's
    rule that more than half of the labels disagree with the classifier.

    Args:
        votes: labels, ABSTAIN, SEVERAL, or NO_VOTE, which counts as nothing.
        predictions: the classifier's.
        minimum_agreement: share of votes that the region's label needs.
        settings: the other thresholds.
    """
    given, named, nothing = votes != NO_VOTE, votes >= 0, float("nan")
    if not given.any():
        return Judgement(ABSTAIN, nothing, nothing, nothing, RegionVerdict.NOT_JUDGED)
    abstention = 1 - (votes != ABSTAIN)[given].mean()
    if not named.any():
        unseen = abstention > settings.maximum_abstention or abstention == 1
        verdict = RegionVerdict.NOT_RECOGNISABLE if unseen else RegionVerdict.NO_AGREEMENT
        return Judgement(ABSTAIN, 0.0, float(abstention), nothing, verdict)
    labels, counts = np.unique(votes[named], return_counts=True)
    agreement = counts.max() / given.sum()
    failures = (votes != predictions[:, None])[named].mean()
    if abstention > settings.maximum_abstention:
        verdict = RegionVerdict.NOT_RECOGNISABLE
    elif agreement < minimum_agreement:
        verdict = RegionVerdict.NO_AGREEMENT
    elif failures <= settings.minimum_failures:
        verdict = RegionVerdict.FALSE_ALARM
    else:
        verdict = RegionVerdict.ACCEPTED
    return Judgement(int(labels[counts.argmax()]), float(agreement), float(abstention), float(failures), verdict)


def agreement_kappa(votes: Int64[np.ndarray, "images oracles"], classes: int) -> float:
    """Fleiss' kappa of votes; "not recognisable" and "several classes" count as categories of their own.

    It is over the images that every annotator voted on. NaN where it is undefined: no such image, a single annotator,
    or every vote for one category.
    """
    votes = votes[(votes != NO_VOTE).all(1)]
    if len(votes) == 0 or votes.shape[1] < 2:
        return float("nan")
    first = min(ABSTAIN, int(votes.min()))
    counts = np.stack([(votes == category).sum(1) for category in range(first, classes)], axis=1)
    if (counts.sum(0) > 0).sum() < 2:
        return float("nan")
    from statsmodels.stats.inter_rater import fleiss_kappa

    return float(fleiss_kappa(counts, method="fleiss"))


def causes_of_mistakes(
    consensus_label: Int64[np.ndarray, "mistakes"],
    label: Int64[np.ndarray, "mistakes"],
    prediction: Int64[np.ndarray, "mistakes"],
    raw_failure: Bool[np.ndarray, "mistakes"],
    reconstruction_failure: Bool[np.ndarray, "mistakes"],
) -> Shaped[np.ndarray, "mistakes"]:
    """Cause of each mistake, the value of a `Cause`, as strings; what was wrong before the noise comes first.

    Args:
        consensus_label: of the oracles, or ABSTAIN.
        label: the seed image's.
        prediction: the classifier's.
        raw_failure: whether the seed image itself is wrong already.
        reconstruction_failure: whether the seed image is right and its plain reconstruction wrong.
    """
    tests = {
        Cause.WRONG_BEFORE: raw_failure,
        Cause.RECONSTRUCTION: reconstruction_failure,
        Cause.LABEL_CHANGED: consensus_label == prediction,
        Cause.CLASSIFIER_MISTAKE: consensus_label == label,
        Cause.THIRD_LABEL: consensus_label != ABSTAIN,
    }
    return np.select(list(tests.values()), list(tests), default=Cause.NOT_RECOGNISABLE)


def cause_shares(causes: Shaped[np.ndarray, "mistakes"]) -> list[dict[str, object]]:
    """One row per cause: cause, mistakes, share, low and high of its 95 % Wilson interval."""
    rows = []
    for cause in Cause:
        count = int((causes == cause).sum())
        low, high = wilson_interval(count, len(causes))
        share = count / len(causes) if len(causes) else float("nan")
        rows.append({"cause": cause, "mistakes": count, "share": share, "low": low, "high": high})
    return rows


def purity(labels: Int64[np.ndarray, "samples"], predictions: Int64[np.ndarray, "samples"]) -> float:
    """Share of a region's draws with its most frequent (oracle label, prediction) pair; NaN for no draw.

    A draw without a label has no pair and counts against the region, as it does in its agreement.

    Args:
        labels: the oracles' consensus, or ABSTAIN.
        predictions: the classifier's.
    """
    if len(labels) == 0:
        return float("nan")
    pairs = np.stack([labels, predictions])[:, labels != ABSTAIN]
    _, counts = np.unique(pairs, axis=1, return_counts=True)
    return float(counts.max(initial=0) / len(labels))


def region_row(
    votes: Int64[np.ndarray, "shown annotators"],
    predictions: Int64[np.ndarray, "shown"],
    test_votes: Int64[np.ndarray, "test oracles"],
    test_predictions: Int64[np.ndarray, "test"],
    member_labels: Int64[np.ndarray, "members"],
    mistakes: int,
    settings: params.Annotate,
) -> dict[str, object]:
    """Everything measured of one region.

    The region is judged only by the shown draws; its failure rate, purity and usual prediction are measured
    on the test draws, which nobody selected it by.

    Args:
        votes: the annotators', on the draws that they see.
        predictions: the classifier's, on the same.
        test_votes: the oracles', on the region's test draws.
        test_predictions: the classifier's, on the same.
        member_labels: seed labels of the mistakes assigned to the region.
        mistakes: number of all identified mistakes.
        settings: thresholds.

    Returns:
        The judgement's fields; `prediction`, the most frequent on test draws; `mistakes` and
        `share_of_mistakes` of the region; `failure_rate` with its 95 % Wilson interval, the share of test draws
        not classified as the region's label; `oracle_failure_rate`, the share of the test draws with a consensus
        label that the classifier gets wrong by it; `seed_label_agreement`, the share of members whose seed label
        is the region's; `purity`. NaN where there is no label to hold anything against.
    """
    judged = judge_region(votes, predictions, settings.minimum_agreement, settings)
    consensus_label = consensus(test_votes, settings.consensus)
    labelled = judged.label != ABSTAIN
    compared, members = np.full(len(test_predictions), labelled), np.full(len(member_labels), labelled)
    wrong = test_predictions != judged.label
    low, high = wilson_interval(int(wrong[compared].sum()), int(compared.sum()))
    return {
        **vars(judged),
        "prediction": int(np.bincount(test_predictions).argmax()),
        "mistakes": len(member_labels),
        "share_of_mistakes": len(member_labels) / max(mistakes, 1),
        "failure_rate": share(wrong, compared),
        "failure_low": low,
        "failure_high": high,
        "oracle_failure_rate": share(consensus_label != test_predictions, consensus_label != ABSTAIN),
        "seed_label_agreement": share(member_labels == judged.label, members),
        "purity": purity(consensus_label, test_predictions),
    }


def consensus(votes: Int64[np.ndarray, "images voters"], least: float) -> Int64[np.ndarray, "images"]:
    """Label that at least a share `least`, more than 0.5, of those who voted on an image gave to it, or ABSTAIN."""
    result = np.full(len(votes), ABSTAIN, np.int64)
    voters = (votes != NO_VOTE).sum(1)
    for label in np.unique(votes[votes >= 0]):
        result[(votes == label).sum(1) / np.maximum(voters, 1) >= least] = label
    return result


def region_table(
    shown: Annotations,
    test: Annotations,
    weight: Float64[np.ndarray, "regions"],
    members: list[np.ndarray],
    mistakes: int,
    settings: params.Annotate,
) -> "pd.DataFrame":
    """One row per region with `REGION_COLUMNS`, as `region_row` measures it.

    Args:
        shown: on the draws that the annotators see.
        test: on each region's test draws, by the oracles.
        weight: of the mixture.
        members: seed labels, int64 each, of the mistakes assigned to each region.
        mistakes: number of all identified mistakes.
        settings: thresholds.
    """
    import pandas as pd

    rows = [
        {
            "region": region,
            "weight": share,
            **region_row(
                shown.votes[region],
                shown.predictions[region],
                test.votes[region],
                test.predictions[region],
                members[region],
                mistakes,
                settings,
            ),
        }
        for region, share in enumerate(weight)
    ]
    return pd.DataFrame(rows, columns=list(REGION_COLUMNS))


def acceptance_table(shown: Annotations, settings: params.Annotate) -> "pd.DataFrame":
    """Each region's verdict at each value of `settings.strictness` in place of the minimum agreement."""
    import pandas as pd

    rows = [
        {
            "minimum_agreement": strictness,
            "region": region,
            "verdict": judge_region(votes, predictions, strictness, settings).verdict,
        }
        for region, (votes, predictions) in enumerate(zip(shown.votes, shown.predictions))
        for strictness in settings.strictness
    ]
    return pd.DataFrame(rows, columns=["minimum_agreement", "region", "verdict"])


def region_measures(table: "pd.DataFrame", shown: Annotations, classes: int) -> dict[str, object]:
    """Counts of regions by verdict, Fleiss' kappa of the votes on them, and means over the table of regions.

    A mean is over the regions that have the measure: `seed_label_agreement` over those with a label.
    """
    verdicts = table.verdict.value_counts()
    regions, samples, annotators = shown.votes.shape
    return {
        "regions": len(table),
        "accepted_regions": int(verdicts.get(RegionVerdict.ACCEPTED, 0)),
        "rejected": {reason: int(number) for reason, number in verdicts.items() if reason != RegionVerdict.ACCEPTED},
        "region_kappa": agreement_kappa(shown.votes.reshape(regions * samples, annotators), classes),
        "mean_agreement": table.agreement.mean(),
        "mean_purity": table.purity.mean(),
        "seed_label_agreement": table.seed_label_agreement.mean(),
    }
