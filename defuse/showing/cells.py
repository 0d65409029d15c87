"""What the cells of a notebook call: a figure, and the numbers beside it as a table of text."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from IPython.display import Image, Markdown
from matplotlib.figure import Figure

from defuse.core.storage import read_table
from defuse.data.class_names import class_name, pair_name
from defuse.evidence.pairs import pairs_by_reading
from defuse.evidence.results import measures_by_seed, of_first_seed, provenance, result_path, seeds_of
from defuse.showing.drawing import drawn, save, set_theme
from defuse.showing.pair_figures import HEADINGS
from defuse.showing.report import arms_table, markdown, shown, shown_over_seeds

Columns = dict[str, tuple[str, str]]  # of a table: heading and format of each column shown


def show_figure(draw: Callable[[Path], Figure], tables: str, figures: str) -> Image:
    """Draw a figure of the tables and write it to `figures/SLUG_NAME.png` and `.pdf`; nowhere if that is empty."""
    set_theme()
    file = Path(figures) / f"{provenance(Path(tables))['slug']}_{draw.__name__}.png"
    return Image(save(drawn(draw, Path(tables)), str(file) if figures else ""))


def show_measures(tables: str, rows: dict[str, tuple[str, str]]) -> Markdown:
    """A table of measures, one column for each seed.

    Args:
        tables: folder of a data set's tables.
        rows: words and format for each `stage.measure`.
    """
    values = pd.DataFrame(measures_by_seed(Path(tables))).reindex(columns=list(rows))
    lines = [[words, *(shown(template, value) for value in values[key])] for key, (words, template) in rows.items()]
    return Markdown(markdown(["", *(f"seed {seed}" for seed in values.index)], lines))


def show_over_seeds(
    tables: str, file: str, keys: dict[str, str], columns: Columns, measure: str = "outcome.test_before"
) -> Markdown:
    """A table over the seeds, one row for each value of the keys; of true and false, in how many seeds it is true.

    Args:
        tables: folder of a data set's tables.
        file: a table of it, such as `causes.csv`; several rows of one seed and the same keys are averaged.
        keys: heading of each column that names a row.
        columns: heading and format of each column shown.
        measure: whose seeds are told; one that has no row here is a dash.
    """
    path = result_path(Path(tables), file)
    if not path.is_file():
        return missing(path)
    table, first = read_table(path), next(iter(keys))
    seeds = measures_by_seed(Path(tables))[measure].index
    table[first] = pd.Categorical(table[first], table[first].unique())  # in the table's order; the other keys by value
    lines = []
    for names, group in table.groupby(list(keys), dropna=False, observed=True):
        words = [name.replace("_", " ") if isinstance(name, str) else shown("{:g}", name) for name in names]
        by_seed = group.groupby("seed")[list(columns)].mean().reindex(seeds)
        cells = [
            f"{by_seed[column].sum():.0f} of {len(by_seed)}"
            if table[column].dtype == bool
            else shown_over_seeds(template, by_seed[column])
            for column, (_, template) in columns.items()
        ]
        lines.append(words + cells)
    return Markdown(markdown([*keys.values(), *(heading for heading, _ in columns.values())], lines))


def show_counts(tables: str, file: str, column: str) -> Markdown:
    """How many rows of a table have each value of a column, one row for each seed of the data set."""
    seeds, table = seeds_of(measures_by_seed(Path(tables))), read_table(result_path(Path(tables), file))
    counts = pd.crosstab(table.seed, table[column]).reindex(seeds, fill_value=0)
    lines = [[str(seed), *map(str, row)] for seed, row in zip(counts.index, counts.to_numpy())]
    return Markdown(markdown(["seed", *counts.columns], lines))


def show_regions(tables: str, count: int) -> Markdown:
    """The regions of the first seed, in words: the accepted ones, then those with most mistakes, `count` of them."""
    table, dataset = of_first_seed(Path(tables), "regions.csv"), str(provenance(Path(tables))["dataset"])
    table = table.assign(accepted=table.verdict == "accepted")
    table = table.sort_values(["accepted", "share_of_mistakes"], ascending=False).head(count)
    lines = [
        [
            str(row.region),
            row.verdict,
            "nothing" if row.label < 0 else class_name(dataset, int(row.label)),
            class_name(dataset, int(row.prediction)),
            shown("{:.0%}", row.agreement),
            shown("{:.1%}", row.share_of_mistakes),
            shown("{:.0%}", row.failure_rate),
        ]
        for row in table.itertuples()
    ]
    heading = [
        "region",
        "verdict",
        "annotators see",
        "classifier says",
        "agreement",
        "of all mistakes",
        "draws that fail",
    ]
    return Markdown(markdown(heading, lines))


def seeds_with(pairs: pd.DataFrame) -> dict[tuple[int, int], str]:
    """Of `accepted_pairs`, the seeds that have each, for example "2 of 5: 0, 3"."""
    seeds = {pair: [str(seed) for seed, count in row.items() if count] for pair, row in pairs.iterrows()}
    return {pair: f"{len(own)} of {len(pairs.columns)}: {', '.join(own)}" for pair, own in seeds.items()}


def show_pairs(tables: str) -> Markdown:
    """The seeds in which a region of each pair of label and prediction was accepted, by reading; as in the figure."""
    folder = Path(tables)
    dataset, found = str(provenance(folder)["dataset"]), pairs_by_reading(folder, measures_by_seed(folder))
    # Those of most seeds first, whichever reading has them.
    pairs = pd.concat([(counts > 0).sum(axis=1) for counts in found.values()]).groupby(level=[0, 1]).sum()
    order = pairs.sort_values(ascending=False, kind="stable").index
    columns = {HEADINGS[reading].lower(): seeds_with(counts) for reading, counts in found.items()}
    lines = [[pair_name(dataset, *pair), *(own.get(pair, "–") for own in columns.values())] for pair in order]
    return Markdown(markdown(["annotators' class → the classifier's", *columns], lines))


def show_arms(tables: str, kind: str) -> Markdown:
    """What the arms of a study did, over its seeds; `kind` as in `report.ARMS`."""
    return Markdown(arms_table(measures_by_seed(Path(tables)), kind) or f"*No {kind} was studied.*")


def missing(path: Path) -> Markdown:
    """What stands in place of a table that is not there."""
    return Markdown(f"*{path.name}: no such file; the stage summarize makes it.*")
