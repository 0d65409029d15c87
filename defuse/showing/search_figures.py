"""Figures of the search and of what it finds: mistakes and their causes, the latent space."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from defuse.core.storage import load_arrays, read_table
from defuse.evidence.results import result_path
from defuse.showing.drawing import CAUSE_COLOURS, empty, finish, show_image, show_prediction


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
    """Why the identified images count as mistakes, by the oracles: Wilson's interval of one seed, or a dot for each."""
    table = read_table(result_path(tables, "causes.csv"))
    figure, axes = pyplot.subplots(figsize=(6.6, 2.9))
    order, seeds = list(CAUSE_COLOURS), table.seed.nunique()
    shares = [table[table.cause == cause] for cause in order]
    axes.barh(range(len(order)), [part.share.median() for part in shares], 0.7, color=list(CAUSE_COLOURS.values()))
    for place, part in enumerate(shares):
        if seeds == 1:
            axes.plot([*part.low, *part.high], [place] * 2, color="black", linewidth=1, marker="|", markersize=4)
        else:
            axes.plot(part.share, place + np.linspace(-0.25, 0.25, len(part)), "o", color="black", markersize=2.5)
    axes.set_yticks(range(len(order)), order)
    axes.invert_yaxis()
    marks = "95% interval" if seeds == 1 else "dots: seeds, bars: medians"
    axes.set(xlabel=f"share of the identified mistakes ({marks})", xlim=(0, 1))
    count = table.groupby("seed").mistakes.sum().min()
    figure.subplots_adjust(left=0.27, right=0.97, top=0.86, bottom=0.24)
    return finish(figure, tables, f"causes of {count:,.0f} identified mistakes")


def interpolation(tables: Path) -> Figure:
    """Straight lines through the latent space between pairs of test images (figure 2)."""
    data, title = load_arrays(result_path(tables, "interpolation.npz")), "lines through the latent space"
    pairs, steps = data["images"].shape[:2]
    if pairs == 0:
        return empty(tables, title, "No two test images have different labels.")
    figure, grid = pyplot.subplots(
        pairs,
        steps + 4,
        figsize=(1.0 + 0.66 * (steps + 2), 0.85 + 0.68 * pairs),
        squeeze=False,
        width_ratios=[1, 0.25] + [1] * steps + [0.25, 1],
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for pair, row in enumerate(grid):
        for axes, end in ((row[0], 0), (row[-1], 1)):
            show_image(axes, data["ends"][pair, end])
            show_prediction(axes, data["end_label"][pair, end])
        for step in range(steps):
            show_image(row[2 + step], data["images"][pair, step])
            prediction = data["prediction"][pair, step]
            show_prediction(row[2 + step], prediction, prediction in data["end_label"][pair])
    for column, text in (
        (0, "test image,\nits label"),
        (2, "its reconstruction"),
        (2 + steps // 2, "decoded, the classifier's prediction in the corner"),
        (steps + 3, "test image,\nits label"),
    ):
        grid[0, column].set_title(text, fontsize=6.5, pad=3)
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.62 / height, bottom=0.22 / height, wspace=0.06, hspace=0.08)
    return finish(figure, tables, f"{title} (orange: neither end's label)")


def tsne(tables: Path) -> Figure:
    """t-SNE of the latent space: training codes and codes of mistakes, three of them decoded (post, figure 3)."""
    data = load_arrays(result_path(tables, "tsne.npz"))
    figure, axes = pyplot.subplots(figsize=(6.6, 5.2))
    training, mistakes = data["training"], data["mistakes"]
    axes.scatter(training[:, 0], training[:, 1], s=5, color="#7FB7DB", linewidth=0, label="training images")
    axes.scatter(mistakes[:, 0], mistakes[:, 1], s=4, color="black", linewidth=0, label="identified mistakes")
    points = mistakes[data["shown"]]
    for position, picture in enumerate(np.argsort(-points[:, 1], kind="stable")):  # from above, so that no lines cross
        point = points[picture]
        axes.scatter(point[0], point[1], s=30, color="red", zorder=3)
        inset = axes.inset_axes((1.03, 0.68 - 0.33 * position, 0.26, 0.27))
        show_image(inset, data["images"][picture])
        inset.set_title(f"{data['label'][picture]} taken for {data['prediction'][picture]}", fontsize=7, color="red")
        axes.annotate(
            "",
            xy=point,
            xytext=(1.03, 0.8 - 0.33 * position),
            textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": "red", "linewidth": 0.7},
        )
    axes.set(xticks=[], yticks=[], xlabel="t-SNE of latent codes (no unit)")
    axes.legend(loc="upper left", fontsize=7, markerscale=2, frameon=True)
    figure.subplots_adjust(left=0.05, right=0.76, top=0.92, bottom=0.1)
    return finish(figure, tables, "latent space")
