"""The figure of the planted bugs: how many are found, and what each looks like."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure, SubFigure

from defuse.core.storage import load_arrays, read_table
from defuse.evidence.results import result_path
from defuse.showing.drawing import FIRST_MEASURE, SECOND_MEASURE, THIRD_MEASURE, finish, show_image

# Of the arms in the table's order: two on the mistakes that are not the VAE's, the same on all, misclassified test
# images; the released and the repaired reading, and misclassified training images.
ARM_STYLES = (
    {"color": FIRST_MEASURE, "marker": "o"},
    {"color": SECOND_MEASURE, "marker": "s"},
    {"color": FIRST_MEASURE, "marker": "o", "linestyle": "--", "markerfacecolor": "white"},
    {"color": SECOND_MEASURE, "marker": "s", "linestyle": "--", "markerfacecolor": "white"},
    {"color": THIRD_MEASURE, "marker": "^"},
    {"color": "black", "marker": "D", "markerfacecolor": "white"},
    {"color": "black", "marker": "D"},
    {"color": THIRD_MEASURE, "marker": "v", "markerfacecolor": "white"},
)
KIND_COLOURS = {"mislabelled": FIRST_MEASURE, "left_out": THIRD_MEASURE}
CURVES_WIDTH, NAMES_WIDTH, IMAGE_WIDTH, ROW_HEIGHT, LEAST_HEIGHT = 4.0, 1.5, 0.42, 0.68, 4.9  # inches


def draw_curves(figure: SubFigure, table: pd.DataFrame) -> None:
    """Share of the bugs found by each arm, and accuracy of each bug's subgroup, against strength.

    Lines are medians over seeds, small dots the seeds' own shares. An arm without all strengths has no line.
    """
    above, below = figure.subplots(2, 1, sharex=True)
    strengths, arms = sorted(table.strength.unique()), table.groupby("arm", sort=False)
    for number, ((arm, group), style) in enumerate(zip(arms, itertools.cycle(ARM_STYLES))):
        shares = group.groupby(["strength", "seed"]).found.mean().unstack()
        # Apart from each other, since shares of a few bugs coincide.
        position = np.searchsorted(strengths, shares.index) + 0.06 * (number - (len(arms) - 1) / 2)
        line = {} if len(shares) == len(strengths) else {"linestyle": "none"}
        above.plot(position, shares.median(axis=1), markersize=5, label=arm, **{**style, **line})
        above.plot(position, shares, ".", color=style["color"], markersize=3, alpha=0.6)
    for (kind, _), group in table.groupby(["kind", "bug"], sort=False):
        below.plot(
            group.groupby("strength").subgroup_accuracy.median().to_numpy(),
            ".-",
            color=KIND_COLOURS[kind],
            label=kind.replace("_", " "),
        )
    above.set_ylabel("share of the bugs found", fontsize=8)
    below.set_ylabel("test accuracy on a subgroup", fontsize=8)
    below.set_xlabel("share of the subgroup touched", fontsize=8)
    below.set_xticks(range(len(strengths)), ["0 (control)", *(f"{value:g}" for value in strengths[1:])])
    for axes in (above, below):
        axes.set(ylim=(-0.05, 1.05), yticks=(0, 0.5, 1))
        lines = dict(zip(*reversed(axes.get_legend_handles_labels())))
        axes.legend(
            lines.values(), lines, fontsize=6.5, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2
        )
    figure.subplots_adjust(left=0.13, right=0.96, top=0.77, bottom=0.13, hspace=0.28)


def draw_examples(figure: SubFigure, table: pd.DataFrame, data: dict[str, np.ndarray]) -> None:
    """One row per bug at full strength: training images of its subgroup, and each shown arm's best region."""
    bugs, count = data["bug"], data["subgroup"].shape[1]
    facts = table.set_index(["bug", "strength", "arm"])
    # A narrow empty column stands between the blocks.
    grid = figure.subplots(
        len(bugs), 3 * count + 2, squeeze=False, width_ratios=([1] * count + [0.3]) * 2 + [1] * count
    )
    for axes in grid.flat:
        axes.axis("off")
    for place, (bug, row) in enumerate(zip(bugs, grid)):
        accuracy, control = (facts.loc[(bug, strength, data["arm"][0])].subgroup_accuracy for strength in (1, 0))
        row[0].text(
            -0.2,
            0.5,
            f"{bug.replace('_', ' ')}\naccuracy {accuracy:.0%}\nwithout the bug {control:.0%}",
            transform=row[0].transAxes,
            ha="right",
            va="center",
            fontsize=6.5,
        )
        blocks = [("training images of the subgroup", "", data["subgroup"][place])]
        for arm, images, shown in zip(data["arm"], data["region"][place], data["shown"][place]):
            found = facts.loc[(bug, 1, arm)]
            share = f"{found.best_precision:.0%} are of the bug: {'a match' if found.found else 'no match'}"
            blocks.append((f"{arm}: best region", share if shown else "no region is large enough", images[:shown]))
        for block, (heading, remark, images) in enumerate(blocks):
            first = row[block * (count + 1)]
            first.set_title(f"{heading}\n{remark}" if place == 0 else remark, loc="left", fontsize=6.5, pad=2)
            for axes, image in zip(row[block * (count + 1) :], images):
                show_image(axes, np.moveaxis(image, 0, -1))
    height = figure_height(len(bugs))
    figure.subplots_adjust(
        left=NAMES_WIDTH / (NAMES_WIDTH + 3 * IMAGE_WIDTH * count),
        right=0.99,
        wspace=0.06,
        top=1 - 0.75 / height,
        bottom=0.25 / height,
        hspace=0.3,
    )


def figure_height(bugs: int) -> float:
    """Height in inches of the figure of so many bugs."""
    return max(LEAST_HEIGHT, ROW_HEIGHT * bugs + 1)


def planted_bugs(tables: Path) -> Figure:
    """Share of planted bugs found against strength, what planting did, and each bug's subgroup beside regions."""
    table, data = read_table(result_path(tables, "planted.csv")), load_arrays(result_path(tables, "planted.npz"))
    images_width = NAMES_WIDTH + 3 * IMAGE_WIDTH * data["subgroup"].shape[1]
    figure = pyplot.figure(figsize=(CURVES_WIDTH + images_width, figure_height(len(data["bug"]))))
    curves, examples = figure.subfigures(1, 2, squeeze=False, width_ratios=(CURVES_WIDTH, images_width))[0]
    draw_curves(curves, table)
    first = table[table.seed == table.seed.iloc[0]]  # the studies' first, whose images these are
    draw_examples(examples, first, data)
    return finish(figure, tables, "bugs planted on purpose")
