"""What the paper claims, as checkable statements; `defuse.evidence.judging` holds the rules that decide each.

Statements, conditions and bounds were written before any result that they judge was recorded.
"""

from dataclasses import dataclass
from typing import Literal

from defuse.core import params
from defuse.core.verdicts import Cause

Sign = Literal[">=", "<=", ">"]


@dataclass(frozen=True)
class Condition:
    """`measure` (stage.measure of the table of measures) must stand to `bound` as `sign` says; > is for advantages."""

    measure: str
    sign: Sign
    bound: float

    def met(self, value: float) -> bool:
        """Whether a cell's value, which must not be NaN, meets the bound."""
        if self.sign == "<=":
            return value <= self.bound
        return value > self.bound if self.sign == ">" else value >= self.bound


@dataclass(frozen=True)
class Claim:
    """A statement of the paper or of ours, or a question of later work: `measures` in place of `conditions`.

    Attributes:
        name: short.
        statement: in a sentence.
        source: where it is said.
        conditions: which measures decide it.
        parts: whether the source states each condition separately, so that the claim may hold in part.
        nothing_fails: whether a cell in which nothing could be measured (no accepted region) fails the conditions; else
            they are judged over the other cells.
        measures: of a question, `stage.measure` each; with `arms` the measures of each of these.
        arms: of a question, the kind of arm whose measures are told, as in `evidence.tables.ARMS`.
        sheet: the contact sheet that decides, judged once by a person (`judging.of_sheet`), in place of the seeds.
    """

    name: str
    statement: str
    source: str
    conditions: tuple[Condition, ...] = ()
    parts: bool = False
    nothing_fails: bool = False
    measures: tuple[str, ...] = ()
    arms: str = ""
    sheet: str = ""


def search_noise(search: params.Noise, compared: dict[str, params.Noise]) -> str:
    """The arm of the noise ablation that is the search's own noise."""
    return next(arm for arm, noise in params.compared_noises(compared, search).items() if noise == search)


def claims(bounds: params.Claims, dataset: str, noise: str) -> list[Claim]:
    """The six claims of the post and eight of ours, with the bounds of `params.yaml`; the questions of later work.

    `noise` is the arm of the noise ablation that decides whether perturbation keeps the label, see `search_noise`.
    """

    def least(measure: str, bound: float) -> Condition:
        return Condition(measure, ">=", bound)

    def most(measure: str, bound: float) -> Condition:
        return Condition(measure, "<=", bound)

    def more(measure: str) -> Condition:
        return Condition(measure, ">", 0)

    return [
        Claim(
            "end to end",
            "Identification, distillation and correction together discover and correct errors",
            "blog",
            (
                least("annotate.accepted_regions", 1),
                more("outcome.region_test_gain"),
                more("outcome.region_test_gain_over_control"),
                most("outcome.test_drop", bounds.accuracy_drop),
            ),
            nothing_fails=True,
        ),
        Claim(
            "correction",
            "Some lambda gives high accuracy on the regions, above lambda = 0, and largely keeps the test accuracy",
            "blog",
            (
                least("outcome.region_test_after_correction", bounds.region_accuracy),
                more("outcome.region_test_gain"),
                more("outcome.region_test_gain_over_control"),
                most("outcome.test_drop", bounds.accuracy_drop),
            ),
        ),
        Claim(
            "baseline",
            "Correction does better than fine-tuning on only the identified mistakes",
            "blog",
            (more("outcome.region_test_gain_over_baseline"), more("outcome.test_gain_over_baseline")),
            parts=True,
        ),
        Claim(
            "novelty",
            "The regions show other types of error than the misclassified training images",
            "blog",
            (
                least("novelty.new_type", bounds.new_error_types),
                more("novelty.new_type_above_test_errors"),
            ),
        ),
        Claim(
            "bugs with a name",
            "Images of one region look and fail alike, so that one label serves a region",
            "blog",
            (least("annotate.mean_agreement", bounds.agreement), least("annotate.mean_purity", bounds.agreement)),
            parts=True,
        ),
        Claim(
            "small perturbation",
            "Decoded neighbours of an image keep its label",
            "blog",
            (least(f"noise {noise}.label_kept", bounds.labels_kept),),
        ),
        Claim(
            "planted bugs",
            "The search finds planted bugs, more often than where none was planted, and more often than k-means does",
            "later work",
            (
                least("plant_bugs.found", bounds.planted_found),
                least("plant_bugs.above_control", bounds.planted_advantage),
                least("plant_bugs.above_kmeans", bounds.planted_advantage),
            ),
        ),
        Claim(
            "rivals",
            "For the same number of labels, regions repair more than single mistakes, k-means and more training",
            "later work",
            (
                more("regions against single mistakes.region_test_accuracy"),
                more("regions against single mistakes.mistake_test_accuracy"),
                more("regions against k-means.mistake_test_accuracy"),
                more("regions against more training.mistake_test_accuracy"),
            ),
            nothing_fails=True,
        ),
        Claim(
            "reconstructions",
            "The classifier recognises reconstructions of validation images that it gets right",
            "design",
            (least("identify.validation_reconstruction_accuracy", getattr(bounds.reconstructions, dataset)),),
        ),
        Claim(
            "released settings",
            "With the settings of the released code, most identified mistakes are not the classifier's own",
            "ours",
            (most("readings.discoveries_released", bounds.released_discoveries),),
        ),
        Claim(
            "repair",
            "The repaired method has more accepted regions than the method as described",
            "ours",
            (more("readings.accepted_above_described"),),
        ),
        Claim(
            "no label needed",
            "Mistakes with their seed images' labels repair about as much as single labels, and keep the test accuracy",
            "ours",
            (
                least("readings.no_label_above_single_labels", -bounds.label_advantage),
                most("readings.no_label_test_drop", bounds.kept_accuracy),
            ),
        ),
        Claim(
            "search beats no search",
            "The search finds planted bugs that grouping misclassified training images misses",
            "ours",
            (more("plant_bugs.found_beyond_no_search"),),
        ),
        Claim(
            "right by eye",
            "Regions of the repaired method that annotators accept are bugs to the judge's eye too",
            "ours",
            (least("by_eye.repaired_right", bounds.right_by_eye),),
            sheet="repaired",
        ),
        Claim(
            "rivals by arm",
            "Does correction beat its rivals at the same labelling budget?",
            "later work",
            measures=("labels_asked", "region_test_accuracy", "mistake_test_accuracy", "test_accuracy"),
            arms="rival",
        ),
        Claim(
            "searches",
            "Which search finds the classifier's own mistakes, and at what cost?",
            "later work",
            measures=(
                "classifier_mistake",
                "wrong_before_the_search",
                "reconstruction",
                "draws_per_classifier_mistake",
            ),
            arms="search",
        ),
        Claim(
            "variety",
            "Do samples of a region vary, and do they still fail (tau)?",
            "later work",
            measures=("variety", "failure_rate", "agreement"),
            arms="tau",
        ),
        Claim(
            "planted bugs by arm",
            "Does it recover bugs that we know are there?",
            "later work",
            measures=("found", "found_where_took", "top_precision", "recall"),
            arms="planted",
        ),
        Claim(
            "what planting did",
            "Did the classifiers learn the planted bugs, and do they survive the autoencoder?",
            "later work",
            measures=(
                "plant_bugs.took",
                "plant_bugs.seen_raw",
                "plant_bugs.seen_reconstructed",
                "plant_bugs.found_in_control",
            ),
        ),
        Claim(
            "validity",
            "Is a generated image valid, and does it keep its seed's label?",
            "later work",
            measures=("recognisable", "label_kept"),
            arms="noise",
        ),
        Claim(
            "causes",
            "How many of the identified mistakes are the classifier's?",
            "later work",
            measures=tuple(f"cause {cause}.share" for cause in Cause),
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
