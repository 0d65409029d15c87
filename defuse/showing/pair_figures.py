"""The figure of bugs over seeds: which pairs of label and prediction come back, and which one training alone has."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from defuse.core.params import DESCRIBED, REPAIRED
from defuse.data.class_names import pair_name
from defuse.evidence.pairs import come_back, pairs_by_reading
from defuse.evidence.results import measures_by_seed, provenance
from defuse.showing.drawing import MISTAKES, REGIONS, finish
from defuse.showing.reading_figures import NOT_COMPARED

HEADINGS = {DESCRIBED: "As described", REPAIRED: "Repaired"}
BACK, SEVERAL, ONCE = MISTAKES, REGIONS, "#999999"
COLOURS = {"in at least half of the seeds": BACK, "in more than one, but in fewer": SEVERAL, "in one seed only": ONCE}
MOST_ROWS = 30  # of a panel
LONG = 30  # letters of a pair's name from which it takes two lines
PANEL, MARGIN, ABOVE, BELOW, LINE, CELL = 4.7, 0.15, 0.95, 0.95, 0.13, 0.34  # inches
NAMES = {False: 1.1, True: 2.35}  # inches that short and long names take


def how_many_come_back(pairs: pd.DataFrame) -> str:
    """In words, how many of `accepted_pairs` come back and how many one seed alone has."""
    count, seeds = len(pairs), len(pairs.columns)
    if count == 0:
        return "no region was accepted in any seed" if seeds > 1 else "no region was accepted"
    if seeds == 1:
        return f"{count} pair{'s' * (count > 1)}; one seed cannot tell which come back"
    once = int(((pairs > 0).sum(axis=1) == 1).sum())
    return f"{come_back(pairs).sum()} of {count} pairs in at least half of the seeds, {once} in one seed only"


def draw_pairs(axes: Axes, pairs: pd.DataFrame, dataset: str, shared: set[tuple[int, int]]) -> None:
    """A row for each pair, a square for each seed that has it, with its number of regions where they are several.

    Args:
        axes: of the reading.
        pairs: its `accepted_pairs`, at most MOST_ROWS.
        dataset: whose class names are told.
        shared: pairs of both readings, told in bold.
    """
    seeds = list(pairs.columns)
    found, back = (pairs > 0).sum(axis=1), come_back(pairs)
    for place, (pair, counts) in enumerate(pairs.iterrows()):
        colour = BACK if back[pair] else ONCE if found[pair] == 1 else SEVERAL
        ink = "white" if colour == BACK else "black"
        for column, count in enumerate(counts):
            if count:
                axes.barh(place, 0.86, 0.8, left=column - 0.43, color=colour, linewidth=0)
            if count > 1:
                axes.text(column, place, str(count), ha="center", va="center", fontsize=6.5, color=ink)
        axes.text(len(seeds) - 0.35, place, f"{found[pair]} of {len(seeds)}", va="center", fontsize=7)
    names = [pair_name(dataset, *pair) for pair in pairs.index]
    names = [name.replace(" → ", " →\n") if len(name) > LONG else name for name in names]
    axes.set_yticks(range(len(pairs)), names, fontsize=7)
    for label, pair in zip(axes.get_yticklabels(), pairs.index):
        label.set_fontweight("bold" if pair in shared else "normal")
    axes.set_xticks(range(len(seeds)), list(map(str, seeds)), fontsize=7)
    axes.set(xlim=(-0.5, len(seeds) - 0.5), ylim=(len(pairs) - 0.5, -0.5))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_facecolor("#F5F5F5")


def left_out(pairs: pd.DataFrame) -> str:
    """Which pairs a panel has no room for."""
    most = int((pairs > 0).sum(axis=1).max())
    return f"and {len(pairs)} more, in {'one seed' if most == 1 else f'at most {most} seeds'} each"


def bugs_over_seeds(tables: Path) -> Figure:
    """The pairs of label and prediction of accepted regions by seed, as described and as repaired."""
    dataset, found = str(provenance(tables)["dataset"]), pairs_by_reading(tables, measures_by_seed(tables))
    rows = max(min(len(pairs), MOST_ROWS) for pairs in found.values())
    long = any(len(pair_name(dataset, *pair)) > LONG for pairs in found.values() for pair in pairs.index)
    step, width = LINE * (2.5 if long else 1.5), len(HEADINGS) * PANEL
    height = ABOVE + BELOW + step * max(rows, 1)
    shared = set(found[DESCRIBED].index) & set(found[REPAIRED].index) if REPAIRED in found else set()
    figure = pyplot.figure(figsize=(width, height))
    for number, (reading, heading) in enumerate(HEADINGS.items()):
        start, top = (number * PANEL + MARGIN) / width, 1 - ABOVE / height
        figure.text(start, 1 - 0.6 / height, heading, fontsize=10, fontweight="bold", va="bottom")
        words = how_many_come_back(found[reading]) if reading in found else NOT_COMPARED
        figure.text(start, 1 - 0.8 / height, words, fontsize=8, va="bottom")
        pairs = found.get(reading, pd.DataFrame())
        shown = pairs.iloc[:MOST_ROWS]
        if shown.empty:
            continue
        left = number * PANEL + MARGIN + NAMES[long]
        size = min(CELL * len(shown.columns), (number + 1) * PANEL - left - 0.55), step * len(shown)
        place = (left / width, top - size[1] / height, size[0] / width, size[1] / height)
        draw_pairs(figure.add_axes(place), shown, dataset, shared)
        under = top - (size[1] + 0.17) / height
        figure.text((left - 0.08) / width, under, "seed", fontsize=7, ha="right", va="bottom")
        if len(pairs) > MOST_ROWS:
            figure.text(left / width, under - 0.03 / height, left_out(pairs.iloc[MOST_ROWS:]), fontsize=7, va="top")
    meaning = [Patch(color=colour, label=words) for words, colour in COLOURS.items()]
    figure.legend(
        handles=meaning,
        title="a pair is found …  (bold: by both readings; a number: in so many regions)",
        title_fontsize=7,
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(MARGIN / width - 0.01, 0.15 / height),
        ncols=len(meaning),
        frameon=False,
        fontsize=7,
        handlelength=1,
    )
    return finish(figure, tables, "bugs over seeds, the annotators' class → the classifier's")
