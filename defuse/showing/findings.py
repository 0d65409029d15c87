"""What the replication found, in sentences whose every number is read from the tables and linked to its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from defuse.core.params import DESCRIBED, RELEASED, REPAIRED
from defuse.core.storage import read_table
from defuse.core.verdicts import ClaimVerdict
from defuse.evidence.results import measures_by_seed, provenance, result_path, seeds_of
from defuse.showing.report import COUNT, linked, seeds_in_words, shown

POST = "blog"  # the source of the paper's own claims in the claims table
NOT_JUDGED = "No claim has been judged yet."
UNDECIDED = "cannot tell"  # the judge's answer on a contact sheet


@dataclass(frozen=True)
class Sentence:
    """Words with a place in braces for each measure, told of all data sets in order.

    Attributes:
        words: the sentence, or a part of one.
        measures: by place, `stage.measure` of a share, or of another number with its format.
    """

    words: str
    measures: dict[str, str | tuple[str, str]]


DRAWS, TENTHS, ACCURACY, DIFFERENCE = "{:,.0f}", "{:.1%}", "{:z.2%}", "{:+z.2%}"  # z: no minus before a zero
THREE = (RELEASED, DESCRIBED, REPAIRED)
FOUND = Sentence(
    "Of the images that the search keeps as mistakes, annotators call {own} the classifier's own; of the {regions} "
    "regions found among them, they accept {accepted} as bugs",
    {
        "own": "cause classifier mistake.share",
        "accepted": ("annotate.accepted_regions", COUNT),
        "regions": ("distill.regions", COUNT),
    },
)
AFTER_REPAIR = Sentence(
    "with our repaired method, {own} of the mistakes are the classifier's own, and they accept {accepted} of {regions} "
    "regions",
    {
        "own": "reading repaired.classifier_mistake",
        "accepted": ("reading repaired.accepted", COUNT),
        "regions": ("reading repaired.regions", COUNT),
    },
)
CORRECTED = Sentence(
    "Before correction the classifier gets {region_before} of new images drawn from the accepted regions right, after "
    "it {region_after}; of the test images it gets {before} right, and correction costs {drop} of them.",
    {
        "region_before": ("outcome.region_test_before", TENTHS),
        "region_after": "outcome.region_test_after_correction",
        "before": ("outcome.test_before", ACCURACY),
        "drop": ("outcome.test_drop", ACCURACY),
    },
)
SEARCH = (
    Sentence(
        "Of the images that the search keeps, the annotators call {own} the classifier's own mistakes. In "
        "{changed} the perturbation has changed the class; in {vae} the classifier is already wrong on the "
        "autoencoder's reconstruction of the seed image, before any noise is added; and in {nothing} annotators do not "
        "agree on what is shown.",
        {
            "own": "cause classifier mistake.share",
            "changed": "cause label changed.share",
            "vae": "cause reconstruction.share",
            "nothing": "cause not recognisable.share",
        },
    ),
    Sentence(
        "A further {before} come from seed images that the classifier got wrong to begin with.",
        {"before": "cause wrong before the search.share"},
    ),
    Sentence(
        "Of validation images that the classifier gets right, it still gets {right} right once they are reconstructed.",
        {"right": ("identify.validation_reconstruction_accuracy", "{:.1%}")},
    ),
)
REGIONS = (
    Sentence(
        "Of {regions} regions, annotators accept {accepted} as bugs. On average over the regions, {agreement} of the "
        "votes are for one label, and {purity} of the draws share one label and one prediction.",
        {
            "regions": ("distill.regions", COUNT),
            "accepted": ("annotate.accepted_regions", COUNT),
            "agreement": "annotate.mean_agreement",
            "purity": "annotate.mean_purity",
        },
    ),
    Sentence(
        "Of the accepted regions, {new} are a new type of error, one that no misclassified training image shows; of "
        "the misclassified test images, {test} are.",
        {"new": "novelty.new_type", "test": "novelty.new_type_of_test_errors"},
    ),
)
CORRECTION = (
    Sentence(
        "Before correction {before} of the fresh draws of accepted regions are right; after continued training without "
        "regions (lambda = 0) {control}, after fine-tuning on the mistakes only (the baseline) {baseline}, and after "
        "correction {after}.",
        {
            "before": ("outcome.region_test_before", TENTHS),
            "control": "outcome.region_test_after_control",
            "baseline": "outcome.region_test_after_baseline",
            "after": "outcome.region_test_after_correction",
        },
    ),
    Sentence(
        "Of the test images {before} are right before, and correction costs {drop} of them. The corrected "
        "classifier's test accuracy minus that at lambda = 0 is {over_control}, and minus the baseline's "
        "{over_baseline} of the test images.",
        {
            "before": ("outcome.test_before", ACCURACY),
            "drop": ("outcome.test_drop", ACCURACY),
            "over_control": ("outcome.test_gain_over_control", DIFFERENCE),
            "over_baseline": ("outcome.test_gain_over_baseline", DIFFERENCE),
        },
    ),
)
RIVALS = (
    Sentence(
        "Of the classifier's single mistakes on which no arm was trained, {regions} are right after correction with "
        "regions, {single} after training on single mistakes with at most as many labels, {kmeans} with k-means in "
        "place of the mixture, and {more} after more training with augmentation and no label at all.",
        {
            "regions": "rival regions.mistake_test_accuracy",
            "single": "rival single mistakes.mistake_test_accuracy",
            "kmeans": "rival k-means.mistake_test_accuracy",
            "more": "rival more training, augmented.mistake_test_accuracy",
        },
    ),
)
PLANTED = (
    Sentence(
        "Regions find {found} of the planted bugs, k-means {kmeans}, and clusters of misclassified test images {test}. "
        "Where nothing was planted, regions “find” {control} all the same.",
        {
            "found": "plant_bugs.found",
            "kmeans": "plant_bugs.found_by_kmeans",
            "test": "planted mixture of test mistakes at 1.found",
            "control": "plant_bugs.found_in_control",
        },
    ),
    Sentence(
        "The repaired method finds {repaired}, the released settings {released}, and misclassified training images, "
        "grouped without any search, {none}.",
        {
            "repaired": "planted repaired at 1.found",
            "released": "planted released at 1.found",
            "none": "planted no search at 1.found",
        },
    ),
)
READINGS = (
    Sentence(
        "Of the mistakes that the released method groups into regions, {released} are the classifier's own; of the "
        "described one's, {described}; of the repaired one's, {repaired}. (The latter two have dropped the "
        "autoencoder's mistakes before.)",
        {name: f"reading {name}.classifier_mistake" for name in THREE},
    ),
    Sentence(
        "Annotators accept {released} of {released_regions} regions of the released method, {described} of "
        "{described_regions} of the described one, and {repaired} of {repaired_regions} of the repaired one.",
        {
            f"{name}{place}": (f"reading {name}.{measure}", COUNT)
            for name in THREE
            for place, measure in (("", "accepted"), ("_regions", "regions"))
        },
    ),
    Sentence(
        "Of the mistakes that the repaired search finds around test images, {repaired} are right after training on its "
        "accepted regions, {single} after training on single labels, {none} with the labels of their seed images and "
        "no annotator, and {search} with misclassified training images and no search.",
        {
            "repaired": "rival repaired.repaired_mistakes_accuracy",
            "single": "rival single labels.repaired_mistakes_accuracy",
            "none": "rival no label asked.repaired_mistakes_accuracy",
            "search": "rival no search.repaired_mistakes_accuracy",
        },
    ),
)
COST = (
    Sentence(
        "Each of the classifier's own mistakes takes {usual} draws of the search as it is set, and {many} with small "
        "noise and many draws.",
        {
            "usual": ("search from_train.draws_per_classifier_mistake", DRAWS),
            "many": ("search small_many.draws_per_classifier_mistake", DRAWS),
        },
    ),
    Sentence(
        "Annotators give {labels} labels to the regions of the described method, and {repaired} to those of the "
        "repaired one.",
        {
            "labels": ("reading described.labels_asked", COUNT),
            "repaired": ("reading repaired.labels_asked", COUNT),
        },
    ),
)


@dataclass(frozen=True)
class Recorded:
    """What is recorded of a data set, as a page tells of it.

    Attributes:
        name: as it stands in a sentence.
        medians: over the seeds, by `stage.measure`; NaN where nothing was measured.
        measures: the values behind them, of `measures_by_seed`.
        file: the table of the medians.
        page: from which the numbers are linked.
    """

    name: str
    medians: pd.Series
    measures: dict[str, pd.Series]
    file: Path
    page: Path

    def number(self, key: str, template: str) -> str:
        """The median of a measure, linked to its table, and of how many seeds it is if some have none; else a dash."""
        value = self.medians.get(key, np.nan)
        if np.isnan(value):
            return shown(template, value)
        of_seeds = self.measures.get(key, pd.Series(dtype=float))
        words, count, tried = linked(shown(template, value), self.file, self.page), of_seeds.count(), len(of_seeds)
        if np.isinf(value):
            return f"{words} (none found in {np.isinf(of_seeds).sum()} of {tried} seeds)"
        return f"{words} ({count} of {tried} seeds)" if count < tried else words


def in_words(title: str) -> str:
    """A data set's title as it stands in a sentence."""
    return f"the {title}" if title.endswith("subset") else title


def recorded(results: Path, datasets: Sequence[str], page: Path) -> list[Recorded]:
    """The data sets that have tables, in order."""
    found = []
    for tables in (results / name / "tables" for name in datasets):
        if tables.is_dir():
            file = result_path(tables, "medians.csv")
            table = read_table(file, "stage", "measure", "median", "seeds")
            medians = table.set_axis(table.stage + "." + table.measure)["median"].astype(float)
            name = in_words(str(provenance(tables)["title"]))
            found.append(Recorded(name, medians, measures_by_seed(tables), file, page))
    return found


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def in_order(data: Sequence[Recorded], key: str, template: str = "{:.0%}") -> str:
    """A measure's medians in the order of the data sets, as a list in a sentence; empty if none has it."""
    numbers = [each.number(key, template) for each in data]
    return listed(numbers) if set(numbers) != {"–"} else ""


def told(data: Sequence[Recorded], sentences: Sequence[Sentence]) -> str:
    """The sentences whose measures are all recorded, each of some data set, as one text; empty if there is none."""
    texts = []
    for each in sentences:
        filled = {
            place: in_order(data, *((key,) if isinstance(key, str) else key)) for place, key in each.measures.items()
        }
        if all(filled.values()):
            texts.append(each.words.format(**filled))
    return " ".join(texts)


def judged(claims: Path) -> pd.DataFrame:
    """The claims that have a rule, a row for each of them and each data set; empty where nothing was judged."""
    table = (
        read_table(claims) if claims.exists() else pd.DataFrame(columns=["claim", "data", "source", "rule", "verdict"])
    )
    return table[table.rule.notna()].drop_duplicates(["claim", "data"])


def verdict_counts(claims: Path, page: Path) -> str:
    """How many of the verdicts on the paper's claims say what, in a sentence."""
    table = judged(claims)
    table = table[table.source == POST]
    if table.empty:
        return NOT_JUDGED
    counts = table.verdict.value_counts()
    said = [
        f"{linked(str(counts[verdict]), claims, page)} “{verdict}”" for verdict in ClaimVerdict if verdict in counts
    ]
    where = listed([in_words(title) for title in table.data.unique()])
    return (
        f"The {table.claim.nunique()} claims of the paper that can be checked, each judged on {where}, get "
        f"{len(table)} verdicts: {listed(said)}."
    )


def verdict_list(claims: Path) -> str:
    """The claims by verdict, each with the data sets on which it has it, as a list."""
    table, lines = judged(claims), []
    heads = {
        ClaimVerdict.REPRODUCED: "Holds",
        ClaimVerdict.PARTLY: "Holds in part",
        ClaimVerdict.NOT_REPRODUCED: "Does not hold",
        ClaimVerdict.INCONCLUSIVE: "Undecided",
    }
    everywhere = set(table.data)
    for verdict, head in heads.items():
        own = table[table.verdict == verdict]
        claimed = [
            name if set(group.data) == everywhere else f"{name} ({listed(list(group.data))})"
            for name, group in own.groupby("claim", sort=False)
        ]
        if claimed:
            lines.append(f"- **{head}:** {'; '.join(claimed)}.")
    return "\n".join(lines) or NOT_JUDGED


def main_sentences(results: Path, data: Sequence[Recorded], page: Path) -> str:
    """The replication in three sentences: verdicts, what the search finds, what correction does."""
    if not data:
        return "Nothing has been recorded yet; `dvc repro` makes the results."
    found, repaired = told(data, [FOUND]), told(data, [AFTER_REPAIR])
    sentences = [
        verdict_counts(results / "claims.csv", page),
        f"{found}{repaired and '; ' + repaired}." if found else "What the search finds has not been measured yet.",
        told(data, [CORRECTED]) or "No region was accepted, so there was nothing to correct.",
    ]
    return " ".join(sentences)


def what_numbers_are(data: Sequence[Recorded]) -> str:
    """What the numbers of a page's sentences are; empty without any."""
    if not data:
        return ""
    count = max(len(seeds_of(each.measures)) for each in data)
    studied = max(len(each.measures.get(f"reading {REPAIRED}.regions", [])) for each in data)
    order = f", in the order {listed([each.name for each in data])}" if len(data) > 1 else f" on {data[0].name}"
    studies = f" ({studied} for the repaired method and for studies)" if 0 < studied < count else ""
    medians = f"medians over {seeds_in_words(count)}{studies}"
    return f"All but the verdicts are {medians}{order}; each number links to its table."
