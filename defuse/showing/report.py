"""README's result tables, made from `results/` so that no number is typed by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from defuse.core.statistics import median_interval
from defuse.core.storage import read_table
from defuse.core.verdicts import Cause
from defuse.evidence.results import BY_EYE, measures_by_seed, provenance, result_path
from defuse.evidence.tables import READINGS

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
FEWEST_FOR_INTERVAL = 6  # seeds; of fewer all values are shown (`median_interval`)
ROWS = (
    ("classifier, test accuracy", "train_classifier.test_accuracy", "{:.2%}"),
    (
        "classifier on plain reconstructions of training images it gets right",
        "identify.reconstruction_accuracy_of_correct",
        "{:.1%}",
    ),
    ("lowest test accuracy of the oracles", "oracles", "{:.2%}"),
    (
        "oracles agree with the label on reconstructed test images (those they recognise)",
        "annotate.oracle_reconstruction_agreement",
        "{:.1%}",
    ),
    ("identified mistakes", "identify.mistakes", "{:,.0f}"),
    ("cause: the classifier's mistake", "cause classifier mistake.share", "{:.1%}"),
    ("cause: the label changed", "cause label changed.share", "{:.1%}"),
    ("cause: wrong before the search, the seed image itself", "cause wrong before the search.share", "{:.1%}"),
    ("cause: the VAE's, wrong once reconstructed", "cause reconstruction.share", "{:.1%}"),
    ("cause: not recognisable", "cause not recognisable.share", "{:.1%}"),
    ("cause: a third label", "cause third label.share", "{:.1%}"),
    ("components heavy enough to be regions", "distill.regions", "{:.0f}"),
    ("regions that the annotators accept as bugs", "annotate.accepted_regions", "{:.0f}"),
    ("chosen lambda", "correct.lambda", "{:g}"),
    ("region test accuracy before", "outcome.region_test_before", "{:.1%}"),
    (
        "region test accuracy after continued training (lambda = 0)",
        "outcome.region_test_after_control",
        "{:.1%}",
    ),
    ("region test accuracy after the baseline", "outcome.region_test_after_baseline", "{:.1%}"),
    ("region test accuracy after correction", "outcome.region_test_after_correction", "{:.1%}"),
    ("test accuracy before", "outcome.test_before", "{:.2%}"),
    ("test accuracy after continued training (lambda = 0)", "outcome.test_after_control", "{:.2%}"),
    ("test accuracy after the baseline", "outcome.test_after_baseline", "{:.2%}"),
    ("test accuracy after correction", "outcome.test_after_correction", "{:.2%}"),
    ("accepted regions with failing draws that are a new type of error", "novelty.new_type", "{:.0%}"),
    ("the same of the classifier's errors on test images", "novelty.new_type_of_test_errors", "{:.0%}"),
    ("bugs planted on purpose that a region matches", "plant_bugs.found", "{:.0%}"),
    ("the same with all mistakes kept, as in the paper", "planted mixture of all mistakes at 1.found", "{:.0%}"),
    ("k-means instead of the mixture", "plant_bugs.found_by_kmeans", "{:.0%}"),
    ("clusters of test mistakes instead of the search", "planted mixture of test mistakes at 1.found", "{:.0%}"),
    ("planted bugs that the released reading matches", "planted released at 1.found", "{:.0%}"),
    ("planted bugs that the repaired reading matches", "planted repaired at 1.found", "{:.0%}"),
    (
        "planted bugs that misclassified training images show, without a search",
        "planted no search at 1.found",
        "{:.0%}",
    ),
    ("planted bugs of the repaired reading that these do not show", "plant_bugs.found_beyond_no_search", "{:.0%}"),
    ("matched where nothing was planted", "plant_bugs.found_in_control", "{:.0%}"),
    ("the same by the repaired reading", "planted repaired at 0.found", "{:.0%}"),
    ("the same by misclassified training images", "planted no search at 0.found", "{:.0%}"),
)


OVER_SEEDS = (
    "Median over seeds with its distribution-free 95 % interval, or each seed's value where fewer than six have one; a "
    "dash where nothing could be measured:"
)
# What is done to the classifier, in the order of the paper's results table.
OUTCOMES = {
    "before": "before",
    "after_control": "after continued training without regions (lambda = 0)",
    "after_baseline": "after fine-tuning on mistakes alone (baseline)",
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
}


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(template: str, value: float) -> str:
    """A number in its format, or a dash where there is none."""
    return "–" if pd.isna(value) else template.format(value)


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
    median, low, high = (template.format(value) for value in median_interval(numbers))
    missing = f", {count} of {len(numbers)} seeds" if count < len(numbers) else ""
    return f"{median} ({low} to {high}{missing})"


def title_with_seeds(tables: Path) -> str:
    """A data set's title and how many seeds its tables hold."""
    seeds = read_table(result_path(tables, "measures.csv")).seed.nunique()
    return f"{provenance(tables)['title']} ({seeds} seed{'s' if seeds > 1 else ''})"


def main_numbers(folders: list[Path]) -> str:
    """The main numbers of each data set over its seeds."""
    columns = []
    for tables in folders:
        # The oracles are shared by all seeds.
        oracles = pd.Series([read_table(result_path(tables, "oracles.csv")).test_accuracy.min()])
        measures = {**measures_by_seed(tables), "oracles": oracles}
        columns.append([shown_over_seeds(template, measures.get(key, [])) for _, key, template in ROWS])
    rows = [[name, *cells] for (name, *_), cells in zip(ROWS, zip(*columns))]
    return markdown(["", *(title_with_seeds(tables) for tables in folders)], rows)


def arm_name(measures: dict[str, pd.Series], stage: str, kind: str) -> str:
    """An arm's name in its table: that of an autoencoder with a feature term tells the term's weight."""
    name = stage.removeprefix(f"{kind} ").replace("_", " ")
    weight = max(measures.get(f"{stage}.feature_weight", []), default=0)  # the same for every seed
    return f"{name} (+ features, weight {weight:g})" if weight else name


def arms_table(tables: Path, kind: str) -> str:
    """What the arms of a kind (`ARMS`) did, over seeds; empty if the tables hold none."""
    measures = measures_by_seed(tables)
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


def by_eye_table(results: Path, datasets: list[str]) -> str:
    """A person's judgements of the contact sheets beside the oracles'; empty where there are none."""
    rows = []
    for name in datasets:
        path = results / name / BY_EYE
        counts = read_table(path) if path.exists() else pd.DataFrame()
        rows += [
            list(map(str, (provenance(results / name / "tables")["title"], *row)))
            for row in counts.itertuples(index=False)
        ]
    return markdown(["data", "sheet", "oracles", "by eye", "count"], rows) if rows else ""


def conditions_table(claims: Path) -> str:
    """Each condition of each claim: measure, rule, values, the cells that meet it, whether it holds."""
    table = read_table(claims)
    table = table[table.rule.notna()]
    rows = []
    for row in table.itertuples(index=False):
        values = [float(value) for value in str(row.values).split()]
        unjudged = f", {row.seeds - row.judged:.0f} not judged" if row.judged < row.seeds else ""
        rows.append(
            [
                *map(str, (row.claim, row.data, row.measure, row.rule)),
                shown_over_seeds("{:.3g}", values),
                f"{row.met:.0f} of {row.judged:.0f}{unjudged}",
                *map(str, (row.holds, row.verdict)),
            ]
        )
    return markdown(["claim", "data", "measure", "rule", "by seed", "cells that meet it", "holds", "verdict"], rows)


def claims_table(claims: Path) -> str:
    """Each claim's verdict by data set, and how many of the judged cells meet all of its conditions."""
    table = read_table(claims)
    table = table[table.rule.notna()].drop_duplicates(["claim", "data"])
    titles = list(table.data.unique())
    rows = []
    for name, group in table.groupby("claim", sort=False):
        by_data = group.set_index("data")
        cells = [
            f"{row.verdict} ({row.all_met:.0f} of {row.all_judged:.0f})" for _, row in by_data.loc[titles].iterrows()
        ]
        rows.append([f"{name}: {group.statement.iloc[0]}", *cells])
    return markdown(["claim", *titles], rows)


def lambda_table(tables: Path) -> str:
    """Accuracy on the original test set and on the regions' test draws for each lambda, over seeds."""
    sweep = read_table(result_path(tables, "lambda_sweep.csv"))
    seeds = sorted(sweep.seed.unique())
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


def results_block(results: Path, datasets: list[str]) -> str:
    """README's results section, without its markers, for the data sets that have tables."""
    folders = [results / name / "tables" for name in datasets if (results / name / "tables").is_dir()]
    parts = [OVER_SEEDS, main_numbers(folders)]
    if (results / "claims.csv").exists():
        parts += [
            "Verdicts on the paper's six claims and on ours. In brackets: how many of the seeds that could be judged "
            "meet all conditions; by eye, how many of the regions looked at are right. Fewer than five decide nothing. "
            "`results/claims.csv` has measures and rules.",
            claims_table(results / "claims.csv"),
        ]
    return "\n\n".join(parts)


def replication_block(results: Path, datasets: list[str]) -> str:
    """The tables of `docs/replication.md`: conditions of the claims, a person's judgement, and each kind of arm."""
    folders = [results / name / "tables" for name in datasets if (results / name / "tables").is_dir()]
    sections = {
        "Every condition of every claim": conditions_table(results / "claims.csv"),
        "Judged by eye": by_eye_table(results, datasets),
    }
    names = {
        "reading": "Readings of the method",
        "rival": "Regions and their rivals",
        "VAE": "Autoencoders",
        "search": "Whole searches",
        "noise": "Noise",
        "tau": "How far a region's draws spread",
        "mixture": "Truncation and concentration prior of the mixture",
    }
    for tables in folders:
        sections[f"Accuracy by lambda: {title_with_seeds(tables)}"] = lambda_table(tables)
    for kind, name in names.items():
        for tables in folders:
            sections[f"{name}: {title_with_seeds(tables)}"] = arms_table(tables, kind)
    return "\n\n".join(f"### {name}\n\n{table}" for name, table in sections.items() if table)


def with_results(text: str, block: str) -> str:
    """`text` with `block` between its two markers.

    Raises:
        ValueError: a marker is missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"no {BEGIN} and {END} in the text")
    return f"{text.partition(BEGIN)[0]}{BEGIN}\n\n{block}\n\n{END}{text.partition(END)[2]}"
