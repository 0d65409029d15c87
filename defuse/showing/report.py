"""The tables of README and of the report, made from `results/` so that no number is typed by hand."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from defuse.core.statistics import median_interval
from defuse.core.storage import read_table
from defuse.core.verdicts import Cause
from defuse.evidence.results import BY_EYE, measures_by_seed, provenance, result_path, seeds_of
from defuse.evidence.tables import READINGS

FEWEST_FOR_INTERVAL = 6  # seeds; of fewer all values are shown (`median_interval`)
COUNT = "{:,.7g}"  # a median of whole numbers may end in a half
ROWS = (
    ("classifier: test accuracy", "train_classifier.test_accuracy", "{:.2%}"),
    (
        "classifier: right on plain reconstructions of training images that it gets right",
        "identify.reconstruction_accuracy_of_correct",
        "{:.1%}",
    ),
    ("lowest test accuracy of an oracle", "oracles", "{:.2%}"),
    (
        "oracles: agreement with the label on reconstructed test images that they recognise",
        "annotate.oracle_reconstruction_agreement",
        "{:.1%}",
    ),
    ("kept images: all that the search takes for mistakes", "identify.mistakes", COUNT),
    ("kept images: the classifier's own mistakes", "cause classifier mistake.share", "{:.1%}"),
    ("kept images: the class has changed", "cause label changed.share", "{:.1%}"),
    ("kept images: the seed image itself was wrong before", "cause wrong before the search.share", "{:.1%}"),
    ("kept images: the autoencoder's, wrong once reconstructed", "cause reconstruction.share", "{:.1%}"),
    ("kept images: not recognisable", "cause not recognisable.share", "{:.1%}"),
    ("kept images: a third class", "cause third label.share", "{:.1%}"),
    ("regions (components that are heavy enough)", "distill.regions", COUNT),
    ("regions accepted as bugs", "annotate.accepted_regions", COUNT),
    ("regions accepted as bugs, repaired method", "reading repaired.accepted", COUNT),
    ("chosen lambda", "correct.lambda", "{:g}"),
    ("fresh draws of accepted regions classified right: before", "outcome.region_test_before", "{:.1%}"),
    ("the same after continued training (lambda = 0)", "outcome.region_test_after_control", "{:.1%}"),
    ("the same after the baseline", "outcome.region_test_after_baseline", "{:.1%}"),
    ("fresh draws of accepted regions classified right: after", "outcome.region_test_after_correction", "{:.1%}"),
    ("test accuracy after continued training (lambda = 0)", "outcome.test_after_control", "{:.2%}"),
    ("test accuracy after the baseline", "outcome.test_after_baseline", "{:.2%}"),
    ("test accuracy after correction", "outcome.test_after_correction", "{:.2%}"),
    ("accepted regions that are a new type of error", "novelty.new_type", "{:.0%}"),
    ("misclassified test images that are a new type of error", "novelty.new_type_of_test_errors", "{:.0%}"),
    ("planted bugs found by a region", "plant_bugs.found", "{:.0%}"),
    ("with all mistakes kept, as in the paper", "planted mixture of all mistakes at 1.found", "{:.0%}"),
    ("with k-means in place of the mixture", "plant_bugs.found_by_kmeans", "{:.0%}"),
    ("with clusters of test mistakes in place of the search", "planted mixture of test mistakes at 1.found", "{:.0%}"),
    ("by the released method", "planted released at 1.found", "{:.0%}"),
    ("by the repaired method", "planted repaired at 1.found", "{:.0%}"),
    ("by misclassified training images, without a search", "planted no search at 1.found", "{:.0%}"),
    ("by the repaired method and not by these", "plant_bugs.found_beyond_no_search", "{:.0%}"),
    ("false finds, where nothing was planted: by a region", "plant_bugs.found_in_control", "{:.0%}"),
    ("false finds by the repaired method", "planted repaired at 0.found", "{:.0%}"),
    ("false finds by misclassified training images", "planted no search at 0.found", "{:.0%}"),
)


ALL_KEYS = [key for _, key, _ in ROWS]
OVER_SEEDS = (
    "Each cell is the median over the seeds with its distribution-free 95% interval, or the value of each seed, in the "
    "order of `params.yaml`, where fewer than six have one; a dash means that nothing could be measured, or that the "
    "seed had no studies."
)
# What is done to the classifier, in the order of the paper's results table.
OUTCOMES = {
    "before": "before",
    "after_control": "after continued training without regions (lambda = 0)",
    "after_baseline": "after fine-tuning on the mistakes only (baseline)",
    "after_correction": "after correction with regions",
}
# Columns of the tables of arms: kind of arm in the table of measures, then each measure's heading and format.
CAUSES = {cause.replace(" ", "_"): (str(cause), "{:.1%}") for cause in Cause}
BEFORE_NOISE = (Cause.WRONG_BEFORE, Cause.RECONSTRUCTION)


ARMS = {
    "rival": {
        "labels_asked": ("labels asked", "{:.0f}"),
        "images": ("images trained on", "{:.0f}"),
        "region_test_accuracy": ("regions' test draws", "{:.1%}"),
        "mistake_test_accuracy": ("single mistakes, unseen", "{:.1%}"),
        **{f"{name}_mistakes_accuracy": (f"unseen mistakes, {name}", "{:.1%}") for name in READINGS},
        "test_accuracy": ("test set", "{:.2%}"),
    },
    "reading": {
        "mistakes": ("mistakes", "{:,.0f}"),
        "classifier_mistake": ("the classifier's own", "{:.1%}"),
        "regions": ("regions shown", "{:.0f}"),
        "accepted": ("accepted", "{:.0f}"),
        "mean_agreement": ("agreement", "{:.1%}"),
        "mean_purity": ("purity", "{:.1%}"),
        "member_failure": ("held-out members that fail", "{:.1%}"),
        "draw_failure": ("fresh draws that fail", "{:.1%}"),
        "labels_asked": ("labels asked", "{:.0f}"),
    },
    "VAE": {"reconstruction_accuracy": ("right reconstructions", "{:.1%}"), **CAUSES},
    "search": {"draws_per_classifier_mistake": ("draws per mistake of the classifier", "{:.0f}"), **CAUSES},
    "noise": {
        "wrong": ("draws that are wrong", "{:.1%}"),
        "label_kept": ("labels kept, of recognisable draws", "{:.1%}"),
        **{cause: column for cause, column in CAUSES.items() if column[0] not in BEFORE_NOISE},  # seeds are right there
    },
    "tau": {
        "variety": ("mean distance of two draws", "{:.2f}"),
        "failure_rate": ("recognisable draws that fail", "{:.1%}"),
        "agreement": ("agreement", "{:.1%}"),
        "recognisable": ("recognisable", "{:.1%}"),
    },
    "mixture": {"regions": ("regions", "{:.1f}"), "accepted": ("accepted", "{:.1f}")},
    "planted": {
        "found": ("bugs found", "{:.0%}"),
        "found_where_took": ("of those that the classifier learnt", "{:.0%}"),
        "top_precision": ("precision of the largest regions", "{:.0%}"),
        "recall": ("the bug's mistakes in matching regions", "{:.0%}"),
    },
}


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(template: str, value: float) -> str:
    """A number in its format, a dash where there is none, and ∞ for a cost at which nothing was found."""
    return "–" if pd.isna(value) else "∞" if np.isinf(value) else template.format(value)


def shown_over_seeds(template: str, values: Sequence[float]) -> str:
    """One cell of a table over seeds: the median with its interval, or of few seeds each one's value.

    Args:
        template: format of a number.
        values: one for each seed, in the order of the seeds; NaN where nothing was measured.

    Returns:
        For example "98.2% (97.9% to 98.4%)", "98.2% / – / 97.9%", or a dash where no seed has a value.
    """
    numbers = np.array(values, float)
    count = int((~np.isnan(numbers)).sum())
    if count == 0:
        return "–"
    if count < FEWEST_FOR_INTERVAL:
        return " / ".join(shown(template, value) for value in numbers)
    median, low, high = (shown(template, value) for value in median_interval(numbers))
    missing = f", {count} of {len(numbers)} seeds" if count < len(numbers) else ""
    return f"{median} ({low} to {high}{missing})"


def shown_with_range(template: str, values: Sequence[float]) -> str:
    """One cell of a short table over seeds: the median, and the lowest and the highest value where these differ.

    Args:
        template: format of a number.
        values: one for each seed; NaN where nothing was measured.
    """
    numbers = np.array(values, float)
    measured = numbers[~np.isnan(numbers)]
    if not len(measured):
        return "–"
    median, low, high = (shown(template, value) for value in (np.median(measured), measured.min(), measured.max()))
    missing = f"{len(measured)} of {len(numbers)} seeds" if len(measured) < len(numbers) else ""
    notes = ", ".join(filter(None, [f"{low} to {high}" if low != high else "", missing]))
    return f"{median} ({notes})" if notes else median


def linked(words: str, file: Path, page: Path) -> str:
    """`words` as a link from a page to a file of the repository."""
    return f"[{words}]({Path(os.path.relpath(file, page.parent)).as_posix()})"


def median_and_values(template: str, values: Sequence[float]) -> str:
    """As `shown_over_seeds`, but few seeds' values stand in brackets behind their median."""
    numbers = np.array(values, float)
    measured, text = numbers[~np.isnan(numbers)], shown_over_seeds(template, values)
    if not len(measured) or len(numbers) == 1 or len(measured) >= FEWEST_FOR_INTERVAL:
        return text
    return f"{shown(template, np.median(measured))} ({text})"


def seeds_in_words(count: int) -> str:
    """A number of seeds: "1 seed", "8 seeds"."""
    return f"{count} seed{'s' if count > 1 else ''}"


def title_with_seeds(tables: Path, measures: dict[str, pd.Series]) -> str:
    """A data set's title and how many seeds its measures, of `measures_by_seed`, are of."""
    return f"{provenance(tables)['title']} ({seeds_in_words(len(seeds_of(measures)))})"


def main_numbers(
    folders: list[Path],
    page: Path,
    keys: Sequence[str] = ALL_KEYS,
    cell: Callable[[str, Sequence[float]], str] = shown_over_seeds,
) -> str:
    """Main numbers of each data set over its seeds: the rows of some keys, and what a cell shows of a measure."""
    rows = [row for row in ROWS if row[1] in keys]
    columns, heads = [], []
    for tables in folders:
        measures = measures_by_seed(tables)
        heads.append(linked(title_with_seeds(tables, measures), result_path(tables, "measures.csv"), page))
        seeds = seeds_of(measures)
        measures["oracles"] = read_table(result_path(tables, "oracles.csv"), "seed").groupby("seed").test_accuracy.min()
        values = {key: measures[key].reindex(seeds) for key in keys if key in measures}  # a study has fewer seeds
        columns.append([cell(template, values.get(key, [])) for _, key, template in rows])
    lines = [[name, *cells] for (name, *_), cells in zip(rows, zip(*columns))]
    return markdown(["", *heads], lines)


def arm_name(measures: dict[str, pd.Series], stage: str, kind: str) -> str:
    """An arm's name in its table: that of an autoencoder with a feature term tells the term's weight."""
    name = stage.removeprefix(f"{kind} ").replace("_", " ")
    weight = max(measures.get(f"{stage}.feature_weight", []), default=0)  # the same for every seed
    return f"{name} (+ features, weight {weight:g})" if weight else name


def arms_table(measures: dict[str, pd.Series], kind: str) -> str:
    """What the arms of a kind (`ARMS`) did, over seeds; empty if the measures, of `measures_by_seed`, hold none."""
    stages = dict.fromkeys(key.rpartition(".")[0] for key in measures if key.startswith(f"{kind} "))
    rows = [
        [
            arm_name(measures, stage, kind),
            *(
                shown_over_seeds(template, measures.get(f"{stage}.{column}", []))
                for column, (_, template) in ARMS[kind].items()
            ),
        ]
        for stage in stages
    ]
    return markdown([kind, *(heading for heading, _ in ARMS[kind].values())], rows) if rows else ""


def by_eye_table(results: Path, datasets: Sequence[str], page: Path) -> str:
    """A person's judgements of the contact sheets beside the oracles'; empty where there are none."""
    rows = []
    for name in datasets:
        path = results / name / BY_EYE
        counts = read_table(path) if path.exists() else pd.DataFrame()
        title = linked(str(provenance(path.parent / "tables")["title"]), path, page) if len(counts) else ""
        rows += [list(map(str, (title, *row))) for row in counts.itertuples(index=False)]
    return markdown(["data", "sheet", "oracles", "by eye", "count"], rows) if rows else ""


def conditions_table(claims: Path, page: Path) -> str:
    """Each condition of each claim: measure, rule, values, the seeds that meet it, whether it holds, what made it."""
    table = read_table(claims)
    table = table[table.rule.notna()]
    rows = []
    for row in table.itertuples(index=False):
        values = [float(value) for value in str(row.values).split()]
        unjudged = f", {row.seeds - row.judged:.0f} not judged" if row.judged < row.seeds else ""
        rows.append(
            [
                *map(str, (row.claim, row.data)),
                linked(str(row.measure), claims.parent.parent / str(row.file), page),
                str(row.rule),
                median_and_values("{:.3g}", values),
                f"{row.met:.0f} of {row.judged:.0f}{unjudged}",
                *map(str, (row.holds, row.verdict)),
                ", ".join(f"`{stage}`" for stage in row.stage.split(", ")),
            ]
        )
    heads = ["claim", "data", "measure", "rule", "median", "seeds that meet it", "holds", "verdict", "made by"]
    return markdown(heads, rows)


def claims_table(claims: Path, page: Path) -> str:
    """Each claim's verdict by data set, and how many of the judged seeds meet all of its conditions."""
    table = read_table(claims)
    table = table[table.rule.notna()].drop_duplicates(["claim", "data"])
    titles = list(table.data.unique())
    rows = []
    for name, group in table.groupby("claim", sort=False):
        by_data = group.set_index("data")
        cells = [
            f"{row.verdict} ({f'{row.all_met:.0f} of {row.all_judged:.0f}' if row.all_judged else 'none judged'})"
            for _, row in by_data.loc[titles].iterrows()
        ]
        rows.append([f"**{name}**: {group.statement.iloc[0]}", *cells])
    return markdown([linked("claim", claims, page), *titles], rows)


def lambda_table(tables: Path) -> str:
    """Accuracy on the original test set and on the regions' test draws for each lambda, over seeds."""
    sweep = read_table(result_path(tables, "lambda_sweep.csv"))
    seeds = sweep.seed.unique()
    rows = []
    for lambda_, arms in sweep[sweep.arm == "correction"].groupby("lambda"):
        by_seed = arms.set_index("seed").reindex(seeds)
        rows.append(
            [
                f"{lambda_:g}" + (" (control)" if lambda_ == 0 else ""),
                shown_over_seeds("{:.2%}", by_seed.test_accuracy),
                shown_over_seeds("{:.1%}", by_seed.region_test_accuracy),
                f"{arms.chosen.astype(bool).sum()} of {len(seeds)}",
            ]
        )
    return markdown(["lambda", "test set", "regions' test draws", "chosen by"], rows)


def marks(name: str) -> tuple[str, str]:
    """What stands before and after a generated part of a page."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def with_results(text: str, block: str, name: str = "results") -> str:
    """`text` with `block` between the two marks of a name.

    Raises:
        ValueError: a mark is missing.
    """
    begin, end = marks(name)
    if begin not in text or end not in text:
        raise ValueError(f"no {begin} and {end} in the text")
    return f"{text.partition(begin)[0]}{begin}\n\n{block}\n\n{end}{text.partition(end)[2]}"
