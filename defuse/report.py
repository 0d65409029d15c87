"""README's result tables, made from `results/` so that no number is typed by hand."""

from pathlib import Path

import pandas as pd

from defuse.results import provenance, result_path
from defuse.storage import read_table

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
ROWS = (
    ("classifier, test accuracy", "train_classifier.test_accuracy", "{:.2%}"),
    ("classifier on plain reconstructions of training images it gets right",
     "identify.reconstruction_accuracy_of_correct", "{:.1%}"),
    ("lowest test accuracy of the five oracles", "oracles", "{:.2%}"),
    ("oracles agree with the label on reconstructed test images (those they recognise)",
     "annotate.oracle_reconstruction_agreement", "{:.1%}"),
    ("identified mistakes", "identify.mistakes", "{:,.0f}"),
    ("cause: the classifier's mistake", "cause classifier mistake.share", "{:.1%}"),
    ("cause: the label changed", "cause label changed.share", "{:.1%}"),
    ("cause: wrong before any noise", "cause reconstruction.share", "{:.1%}"),
    ("cause: not recognisable", "cause not recognisable.share", "{:.1%}"),
    ("cause: a third label", "cause third label.share", "{:.1%}"),
    ("components heavy enough to be regions", "distill.regions", "{:.0f}"),
    ("regions that the annotators accept as bugs", "annotate.accepted_regions", "{:.0f}"),
    ("chosen lambda", "correct.lambda", "{:g}"),
    ("region test accuracy before", "outcome.region_test_before", "{:.1%}"),
    ("region test accuracy after the baseline", "outcome.region_test_after_baseline", "{:.1%}"),
    ("region test accuracy after correction", "outcome.region_test_after_correction", "{:.1%}"),
    ("test accuracy before", "outcome.test_before", "{:.2%}"),
    ("test accuracy after the baseline", "outcome.test_after_baseline", "{:.2%}"),
    ("test accuracy after correction", "outcome.test_after_correction", "{:.2%}"),
    ("region samples unlike their nearest training mistake", "novelty.unlike_neighbour", "{:.0%}"),
    ("bugs planted on purpose that a region matches", "plant_bugs.found", "{:.0%}"),
    ("the same with all mistakes kept, as in the paper", "planted mixture of all mistakes at 1.found", "{:.0%}"),
    ("k-means instead of the mixture (right reconstructions only)", "plant_bugs.found_by_kmeans", "{:.0%}"),
    ("clusters of test mistakes instead of the search", "planted mixture of test mistakes at 1.found", "{:.0%}"),
    ("matched where nothing was planted", "plant_bugs.found_in_control", "{:.0%}"),
)  # fmt: skip

# An earlier trial on MNIST, before this package: differs, classifier mistake, label changed, label kept.
TRIAL = {
    "normal_0.1": (0.006, 0.51, 0.41, 0.99), "normal_0.2": (0.020, 0.40, 0.53, 0.98),
    "normal_0.3": (0.049, 0.29, 0.64, 0.95), "normal_0.5": (0.158, 0.17, 0.74, 0.84),
    "normal_1.0": (0.465, 0.09, 0.78, 0.53),
}  # fmt: skip


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(template: str, value: float) -> str:
    """A number in its format, or a dash where there is none."""
    return "–" if pd.isna(value) else template.format(value)


def main_numbers(folders: list[Path]) -> str:
    """The main numbers of each data set, means over its seeds."""
    columns = []
    for tables in folders:
        means = read_table(result_path(tables, "means.csv"))
        values = dict(zip(means.stage + "." + means.measure, means["mean"]))
        values["oracles"] = read_table(result_path(tables, "oracles.csv")).test_accuracy.min()
        seeds = read_table(result_path(tables, "measures.csv")).seed.nunique()
        columns.append((f"{provenance(tables)['title']} ({seeds} seed{'s' if seeds > 1 else ''})", values))
    rows = [[name, *(shown(template, values.get(key, float("nan"))) for _, values in columns)]
            for name, key, template in ROWS]  # fmt: skip
    return markdown(["", *(title for title, _ in columns)], rows)


def noise_table(tables: Path) -> str:
    """What each noise does: the table of the design's trial, from our run."""
    table = read_table(result_path(tables, "noise.csv")).drop(columns="seed").groupby("noise", sort=False).mean()
    rows = [[name.replace("_", " "), *(shown("{:.1%}", row[column]) for column in (
        "wrong", "classifier_mistake", "label_changed", "third_label", "not_recognisable", "label_kept"))]
        for name, row in table.iterrows()]  # fmt: skip
    return markdown(["noise", "classifier differs from the seed's label", "of those: classifier mistake",
                     "label changed", "third label", "not recognisable", "label kept, of recognisable draws"], rows)


def trial_table(tables: Path) -> str:
    """MNIST's normal noises beside the trial that preceded this package: share by share, trial -> ours."""
    ours, rows = read_table(result_path(tables, "noise.csv")).groupby("noise").mean(numeric_only=True), []
    for name, (wrong, mistake, changed, kept) in TRIAL.items():
        found = ours.loc[name]
        named = 1 - found.not_recognisable
        pairs = ((wrong, found.wrong), (mistake, found.classifier_mistake), (None, found.classifier_mistake / named),
                 (changed, found.label_changed), (None, found.label_changed / named), (kept, found.label_kept))
        rows.append([name.replace("_", " "), *(shown("{:.1%}", new) if old is None else f"{old:.1%} → {new:.1%}"
                                               for old, new in pairs)])  # fmt: skip
    return markdown(["noise", "differs from the seed's label", "of those: classifier mistake",
                     "the same, of the recognised", "label changed", "the same, of the recognised",
                     "label kept"], rows)  # fmt: skip


def claims_table(claims: Path) -> str:
    """Each claim's verdict by data set; in brackets what the rule says of the seeds there are."""
    table = read_table(claims)
    table = table[table.rule.notna()].drop_duplicates(["claim", "data"])
    titles = list(table.data.unique())
    rows = []
    for name, group in table.groupby("claim", sort=False):
        by_data = group.set_index("data")
        cells = []
        for title in titles:
            decided, indicated = by_data.loc[title, ["verdict", "indication"]]
            cells.append(decided if decided == indicated else f"{decided} (so far: {indicated})")
        rows.append([f"{name}: {group.statement.iloc[0]}", *cells])
    return markdown(["claim", *titles], rows)


def results_block(results: Path, datasets: list[str]) -> str:
    """README's results section, without its markers, for the data sets that have tables."""
    folders = [results / name / "tables" for name in datasets if (results / name / "tables").is_dir()]
    parts = ["Main numbers, means over seeds:", main_numbers(folders)]
    if (results / "claims.csv").exists():
        parts += ["Verdicts on the paper's claims and one of ours (`results/claims.csv` has the measures and rules):",
                  claims_table(results / "claims.csv")]  # fmt: skip
    if results / "mnist" / "tables" in folders:
        parts += ["What each noise does on MNIST, by classifier and oracles:",
                  noise_table(results / "mnist" / "tables")]  # fmt: skip
    return "\n\n".join(parts)


def with_results(text: str, block: str) -> str:
    """`text` with `block` between its two markers.

    Raises:
        ValueError: a marker is missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"no {BEGIN} and {END} in the text")
    return f"{text.partition(BEGIN)[0]}{BEGIN}\n\n{block}\n\n{END}{text.partition(END)[2]}"
