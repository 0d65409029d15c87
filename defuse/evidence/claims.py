"""What the paper claims, as checkable statements, and the rules that decide each verdict.

The rules were written before any result was recorded. A condition compares one measure (mean over seeds, with
its 95 % interval) with a bound. It holds if the whole interval is on the right side, fails if the whole interval
is on the wrong side, and is open otherwise.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from defuse.core import params
from defuse.core.errors import ClaimsError
from defuse.core.storage import read_table
from defuse.core.verdicts import ClaimVerdict
from defuse.evidence.results import provenance, result_path

COLUMNS = (
    "claim",
    "statement",
    "source",
    "data",
    "measure",
    "rule",
    "paper_value",
    "value",
    "low",
    "high",
    "seeds",
    "holds",
    "indication",
    "verdict",
    "file",
)


@dataclass(frozen=True)
class Condition:
    """`measure` (stage.measure of the table of means) must be at least, or at most, `bound`."""

    measure: str
    at_least: bool
    bound: float


@dataclass(frozen=True)
class Claim:
    """A statement of the paper or of ours, or a question of later work: `measures` in place of `conditions`."""

    name: str
    statement: str
    source: str
    conditions: tuple[Condition, ...] = ()
    measures: tuple[str, ...] = ()


SEARCHES = ("from_train", "from_train_correct", "from_test", "small_many", "medium", "large_few", "posterior_many")
RIVALS = (
    "more training",
    "more training, augmented",
    "single mistakes",
    "single mistakes, more labels",
    "k-means",
    "mixture per class",
    "baseline: mistakes alone",
)


def search_noise(search: params.Noise, compared: dict[str, params.Noise]) -> str:
    """The arm of the noise ablation that is the search's own noise; a name that no table has if there is none."""
    return next((arm for arm, noise in compared.items() if noise == search), "of the search")


def claims(bounds: params.Claims, dataset: str, noise: str) -> list[Claim]:
    """The six claims of the post and three of ours, with the bounds of `params.yaml`; the questions of later work.

    `noise` is the arm of the noise ablation that decides whether perturbation keeps the label, see `search_noise`.
    """

    def least(measure: str, bound: float) -> Condition:
        return Condition(measure, True, bound)

    def most(measure: str, bound: float) -> Condition:
        return Condition(measure, False, bound)

    return [
        Claim(
            "end to end",
            "Identification, distillation and correction together discover and correct errors",
            "blog",
            (
                least("annotate.accepted_regions", 1),
                least("outcome.region_test_gain", 0),
                most("outcome.test_drop", bounds.accuracy_drop),
            ),
        ),
        Claim(
            "correction",
            "Some lambda gives high accuracy on the regions and largely keeps the test accuracy",
            "blog",
            (
                least("outcome.region_test_after_correction", bounds.region_accuracy),
                most("outcome.test_drop", bounds.accuracy_drop),
            ),
        ),
        Claim(
            "baseline",
            "Correction does better than fine-tuning on the identified mistakes alone",
            "blog",
            (least("outcome.region_test_advantage", 0), least("outcome.test_advantage", 0)),
        ),
        Claim(
            "novelty",
            "The regions show other types of error than the misclassified training images",
            "blog",
            (least("novelty.unlike_neighbour", bounds.new_error_types),),
        ),
        Claim(
            "bugs with a name",
            "Images of one region look and fail alike, so that one label serves a region",
            "blog",
            (least("annotate.mean_agreement", bounds.agreement), least("annotate.mean_purity", bounds.agreement)),
        ),
        Claim(
            "small perturbation",
            "Decoded neighbours of an image keep its label",
            "blog",
            (least(f"noise {noise}.label_kept", bounds.labels_kept),),
        ),
        Claim(
            "planted bugs",
            "It finds bugs that are known to be there, oftener than where none is and than k-means",
            "later work",
            (
                least("plant_bugs.found", bounds.planted_found),
                least("plant_bugs.above_control", bounds.planted_advantage),
                least("plant_bugs.above_kmeans", bounds.planted_advantage),
            ),
        ),
        Claim(
            "rivals",
            "With as many labels, regions repair more than single mistakes, k-means and more training",
            "later work",
            (
                least("regions against single mistakes.region_test_accuracy", 0),
                least("regions against single mistakes.mistake_test_accuracy", 0),
                least("regions against k-means.mistake_test_accuracy", 0),
                least("regions against more training.mistake_test_accuracy", 0),
            ),
        ),
        Claim(
            "reconstructions",
            "The classifier recognises reconstructions of validation images that it gets right",
            "design",
            (least("identify.validation_reconstruction_accuracy", getattr(bounds.reconstructions, dataset)),),
        ),
        Claim(
            "rivals by arm",
            "Does correction beat its rivals at the same labelling budget?",
            "later work",
            measures=(
                "rival regions.labels_asked",
                *(
                    f"rival {arm}.{measure}_accuracy"
                    for arm in ("before", "regions", *RIVALS)
                    for measure in ("region_test", "mistake_test", "test")
                ),
            ),
        ),
        Claim(
            "searches",
            "Which search finds the classifier's own mistakes, and at what cost?",
            "later work",
            measures=tuple(
                f"search {search}.{measure}"
                for search in SEARCHES
                for measure in ("classifier_mistake", "reconstruction", "draws_per_classifier_mistake")
            ),
        ),
        Claim(
            "variety",
            "Do samples of a region vary, and do they still fail (tau)?",
            "later work",
            measures=tuple(
                f"tau {tau}.{measure}"
                for tau in ("0.01", "0.05", "0.25", "1")
                for measure in ("variety", "failure_rate", "agreement")
            ),
        ),
        Claim(
            "planted bugs by arm",
            "Does it recover bugs that we know are there?",
            "later work",
            measures=(
                "plant_bugs.took",
                "plant_bugs.seen_raw",
                "plant_bugs.seen_reconstructed",
                "plant_bugs.found_in_control",
                "planted mixture at 1.found",
                "planted k-means at 1.found",
                "planted mixture of all mistakes at 1.found",
                "planted k-means of all mistakes at 1.found",
                "planted mixture of test mistakes at 1.found",
                "planted mixture of all mistakes at 1.found_where_took",
                "planted mixture at 1.top_precision",
                "planted mixture at 1.recall",
            ),
        ),
        Claim(
            "validity",
            "Is a generated image valid, and does it keep its seed's label?",
            "later work",
            measures=(
                "noise beta_raw.recognisable",
                "noise beta_raw.label_kept",
                "noise normal_0.3.recognisable",
                "noise normal_0.3.label_kept",
            ),
        ),
        Claim(
            "causes",
            "How many of the identified mistakes are the classifier's?",
            "later work",
            measures=(
                "cause reconstruction.share",
                "cause label changed.share",
                "cause classifier mistake.share",
                "cause third label.share",
                "cause not recognisable.share",
            ),
        ),
        Claim(
            "region failure",
            "Does a region fail more often than reconstructions do?",
            "later work",
            measures=("accepted regions.failure_rate", "identify.reconstruction_accuracy_of_correct"),
        ),
        Claim(
            "purity and coverage",
            "Are regions pure, and do they cover the mistakes?",
            "later work",
            measures=("annotate.mean_purity", "distill.coverage", "accepted regions.share_of_mistakes"),
        ),
        Claim(
            "agreement",
            "Do annotators agree, and with the seed's label?",
            "later work",
            measures=("annotate.region_kappa", "annotate.mistake_kappa", "annotate.seed_label_agreement"),
        ),
    ]


def holds(condition: Condition, mean: float, low: float, high: float) -> bool | None:
    """True or False if the whole interval decides, None if it does not, or if there is no value.

    Without an interval (one seed) the value stands for it.
    """
    if np.isnan(mean):
        return None
    low, high = (mean, mean) if np.isnan(low) else (low, high)
    inside, outside = (
        (low >= condition.bound, high < condition.bound)
        if condition.at_least
        else (high <= condition.bound, low > condition.bound)
    )
    return True if inside else False if outside else None


def verdict(decisions: list[bool | None]) -> ClaimVerdict:
    """All hold: reproduced; some hold: partly; none holds and some fail: not reproduced; all open: cannot be told."""
    if all(decisions):
        return ClaimVerdict.REPRODUCED
    if any(decisions):
        return ClaimVerdict.PARTLY
    return ClaimVerdict.NOT_REPRODUCED if False in decisions else ClaimVerdict.OPEN


def load_means(tables: Path, seeds: list[int]) -> pd.DataFrame:
    """Mean, low, high and seeds of every measure, indexed by `stage.measure`.

    Raises:
        ClaimsError: the tables hold seeds that `params.yaml` does not name. Some may still be missing.
        StorageError: a table is missing.
    """
    means = read_table(result_path(tables, "means.csv"))
    found = sorted(read_table(result_path(tables, "measures.csv")).seed.unique().tolist())
    if not set(found) <= set(seeds):
        raise ClaimsError(f"{tables}: made from seeds {found}, params.yaml names {sorted(seeds)}; run summarize")
    return means.set_index(means.stage + "." + means.measure)[["mean", "low", "high", "seeds"]]


def judge(bounds: params.Claims, dataset: str, noise: str, tables: Path, seeds: list[int]) -> list[dict[str, object]]:
    """Rows of the claims table for one data set, one per claim and measure, with COLUMNS as keys.

    `noise` as in `claims`.
    `indication` applies the rule to what there is, even to one seed; `verdict` asks for `minimum_seeds`.
    """
    means, about, rows = load_means(tables, seeds), provenance(tables), []
    nothing = pd.Series({"mean": np.nan, "low": np.nan, "high": np.nan, "seeds": 0})
    for claim in claims(bounds, dataset, noise):
        conditions = claim.conditions or tuple(Condition(name, True, np.nan) for name in claim.measures)
        values = [means.loc[item.measure] if item.measure in means.index else nothing for item in conditions]
        decisions = [holds(item, *value[["mean", "low", "high"]]) for item, value in zip(conditions, values)]
        indication = verdict(decisions) if claim.conditions else ClaimVerdict.MEASURED
        enough = min(value.seeds for value in values) >= bounds.minimum_seeds
        for item, value, decision in zip(conditions, values, decisions):
            sign = ">=" if item.at_least else "<="
            rows.append(
                {
                    "claim": claim.name,
                    "statement": claim.statement,
                    "source": claim.source,
                    "data": about["title"],
                    "measure": item.measure,
                    "rule": f"{sign} {item.bound:g}" if claim.conditions else "",
                    "paper_value": "",
                    "value": value["mean"],
                    "low": value.low,
                    "high": value.high,
                    "seeds": int(value.seeds),
                    "holds": {True: "yes", False: "no", None: ""}[decision],
                    "indication": indication,
                    "verdict": indication if enough or not claim.conditions else ClaimVerdict.OPEN,
                    "file": result_path(tables, "means.csv").as_posix(),
                }
            )
    return rows
