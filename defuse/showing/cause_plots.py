"""The figures that say whose the identified mistakes are, as the other figures are in `defuse.showing.plots`."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from defuse.core.storage import load_arrays, read_table
from defuse.evidence.results import result_path
from defuse.showing.plots import CAUSE_COLOURS, empty, finish, show_image


def identified_mistakes(tables: Path) -> Figure:
    """Seed image, its plain reconstruction and the identified mistake, with labels and cause (judged by eye)."""
    data = load_arrays(result_path(tables, "identified.npz"))
    title = "identified mistakes (seed image, its reconstruction, the mistake)"
    count = len(data["label"])
    if count == 0:
        return empty(tables, title, "The search found no mistake.")
    columns = 4
    rows = -(-count // columns)
    # A narrow, empty column parts the triples. No layout engine: with so many axes its result varies in the last bits.
    figure, grid = pyplot.subplots(
        rows,
        4 * columns - 1,
        figsize=(9.5, 0.9 + 1.05 * rows),
        squeeze=False,
        width_ratios=[1, 1, 1, 0.4] * (columns - 1) + [1, 1, 1],
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for position in range(count):
        row, column = divmod(position, columns)
        triple = grid[row, 4 * column : 4 * column + 3]
        for axes, kind in zip(triple, ("seed_images", "reconstructions", "mistakes")):
            show_image(axes, data[kind][position])
        cause = str(data["cause"][position])
        triple[1].set_title(
            f"{position}: {data['label'][position]} taken for {data['prediction'][position]}\n{cause}", fontsize=7
        )
        triple[2].set_axis_on()
        triple[2].spines[:].set(visible=True, color=CAUSE_COLOURS[cause], linewidth=2)
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.75 / height, bottom=0.25 / height, wspace=0.06, hspace=0.5)
    return finish(figure, tables, title)


def causes(tables: Path) -> Figure:
    """Why the identified images count as mistakes, by the oracles; intervals are Wilson's, per seed."""
    table = read_table(result_path(tables, "causes.csv"))
    figure, axes = pyplot.subplots(figsize=(6.6, 2.9))
    seeds, order = sorted(table.seed.unique()), list(CAUSE_COLOURS)
    for offset, seed in enumerate(seeds):
        rows = table[table.seed == seed].set_index("cause").loc[order]
        where = np.arange(len(order)) + (offset - (len(seeds) - 1) / 2) * 0.8 / len(seeds)
        spread = np.clip([rows.share - rows.low, rows.high - rows.share], 0, None)
        axes.barh(
            where,
            rows.share,
            0.72 / len(seeds),
            xerr=spread,
            color=list(CAUSE_COLOURS.values()),
            error_kw={"linewidth": 1, "capsize": 2},
        )
    axes.set_yticks(range(len(order)), order)
    axes.invert_yaxis()
    axes.set(xlabel="share of the identified mistakes (95 % interval)", xlim=(0, 1))
    count = table.groupby("seed").mistakes.sum().min()
    figure.subplots_adjust(left=0.22, right=0.97, top=0.86, bottom=0.24)
    return finish(figure, tables, f"causes of {count:,} identified mistakes")
