"""What the notebooks draw. Each function takes a data set's folder of tables and returns a figure."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defuse.results import provenance, result_path
from defuse.storage import MissingFileError, atomic_path, load_arrays, read_table

TEST, REGIONS, BASELINE = "#0072B2", "#E69F00", "#009E73"
CAUSE_COLOURS = {
    "classifier mistake": "#D55E00", "label changed": "#56B4E9", "third label": "#CC79A7",
    "reconstruction": "#999999", "not recognisable": "#DDDDDD",
}  # fmt: skip
VERDICT_COLOURS = {
    "accepted": "#D55E00", "false alarm": "#56B4E9", "no agreement": "#999999", "not recognisable": "#DDDDDD",
}  # fmt: skip


def set_theme() -> None:
    """The one theme of all figures."""
    seaborn.set_theme(context="paper", style="ticks", font_scale=1.0)
    matplotlib.rcParams.update({"figure.dpi": 110, "savefig.dpi": 110, "axes.spines.top": False,
                                "axes.spines.right": False, "svg.hashsalt": "defuse"})  # fmt: skip


def finish(figure: Figure, tables: Path, title: str) -> Figure:
    """Add the title and the small line that says what the data are."""
    about = provenance(tables)
    # As near to the upper edge in a tall figure as in a low one.
    figure.suptitle(f"{about['title']}: {title}", y=max(0.98, 1 - 0.15 / figure.get_figheight()))
    width = max(60, int(figure.get_figwidth() * 17))
    line = "\n".join(textwrap.wrap(str(about["line"]), width))
    figure.text(0.01, 0.004, line, fontsize=6, color="#555555", va="bottom")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whose bytes depend on the drawing alone."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
    pyplot.close(figure)


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Draw an image, uint8 (H, W, C), without axes."""
    axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    seaborn.despine(ax=axes, left=True, bottom=True)


def drawn(draw: Callable[[Path], Figure], tables: Path) -> Figure:
    """The figure that `draw` makes of the tables, or one that says which of them is missing."""
    try:
        return draw(tables)
    except MissingFileError as error:
        message = textwrap.fill(f"{error}; the stage summarize makes it", 60)
        return empty(tables, draw.__name__.replace("_", " "), message)


def stack_causes(axes: Axes, parts: dict[str, np.ndarray], height: float) -> None:
    """Horizontal bars, one for each position of the parts' arrays (N,), each part in its cause's colour."""
    start = np.zeros(len(next(iter(parts.values()))))
    for cause, part in parts.items():
        axes.barh(np.arange(len(part)), part, height, left=start, color=CAUSE_COLOURS[cause], label=cause)
        start += part


def draw_over_seeds(axes: Axes, table: pd.DataFrame, key: str, column: str, colour: str, name: str) -> None:
    """Means of `column` against `key`, with a band from the lowest to the highest seed where there are several."""
    values = table.groupby(key)[column]
    axes.plot(values.mean(), color=colour, marker="o", markersize=4, label=name)
    if values.size().max() > 1:
        axes.fill_between(values.mean().index, values.min(), values.max(), color=colour, alpha=0.2)


def empty(tables: Path, title: str, message: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = pyplot.figure(figsize=(6, 2))
    figure.text(0.5, 0.45, message, ha="center", va="center")
    return finish(figure, tables, title)


def identified_mistakes(tables: Path) -> Figure:
    """Seed image, its plain reconstruction and the identified mistake, with labels and cause (post, figure 1)."""
    data = load_arrays(result_path(tables, "identified.npz"))
    title = "identified mistakes (seed image, its reconstruction, the mistake)"
    count = len(data["label"])
    if count == 0:
        return empty(tables, title, "The search found no mistake.")
    columns = 4
    rows = -(-count // columns)
    # A narrow, empty column parts the triples. No layout engine: with so many axes its result varies in the last bits.
    figure, grid = pyplot.subplots(rows, 4 * columns - 1, figsize=(9.5, 0.9 + 1.05 * rows), squeeze=False,
                                   width_ratios=[1, 1, 1, 0.4] * (columns - 1) + [1, 1, 1])  # fmt: skip
    for axes in grid.flat:
        axes.set_axis_off()
    for position in range(count):
        row, column = divmod(position, columns)
        triple = grid[row, 4 * column : 4 * column + 3]
        for axes, kind in zip(triple, ("seed_images", "reconstructions", "mistakes")):
            show_image(axes, data[kind][position])
        cause = str(data["cause"][position])
        triple[1].set_title(f"{data['label'][position]} taken for {data['prediction'][position]}\n{cause}", fontsize=7,
                            color="black" if cause == "not recognisable" else CAUSE_COLOURS[cause])  # fmt: skip
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.75 / height, bottom=0.25 / height, wspace=0.06, hspace=0.5)
    return finish(figure, tables, title)


def regions(tables: Path) -> Figure:
    """The draws that the annotators saw of each region, the prediction in the corner (post, figure 4)."""
    data, title = load_arrays(result_path(tables, "regions.npz")), "misclassification regions and their annotation"
    table = read_table(result_path(tables, "regions.csv"))
    count = len(data["region"])
    if count == 0:
        return empty(tables, title, "No component of the mixture is heavy enough to be a region.")
    table = table[table.seed == table.seed.min()].set_index("region")
    samples = data["images"].shape[1]
    figure, grid = pyplot.subplots(count, samples, figsize=(3.2 + 0.62 * samples, 0.9 + 0.66 * count), squeeze=False)
    for row, region in enumerate(data["region"]):
        facts = table.loc[region]
        label = "nothing" if facts.label < 0 else f"{facts.label:.0f}"
        # Without a label that annotators recognise, a failure rate would measure nothing.
        failure = "" if facts.verdict == "not recognisable" else f", fails on {facts.failure_rate:.0%}"
        text = (f"region {region}: {facts.verdict}\nannotators: {label} ({facts.agreement:.0%} of votes)\n"
                f"classifier: {facts.prediction:.0f}{failure}")  # fmt: skip
        for column in range(samples):
            axes = grid[row, column]
            show_image(axes, data["images"][row, column])
            axes.text(0.97, 0.03, str(data["prediction"][row, column]), transform=axes.transAxes, ha="right",
                      fontsize=7, color="white", bbox={"facecolor": "black", "pad": 0.8, "linewidth": 0})  # fmt: skip
        grid[row, 0].text(-0.15, 0.5, text, transform=grid[row, 0].transAxes, ha="right", va="center", fontsize=7,
                          fontweight="bold" if facts.verdict == "accepted" else "normal")  # fmt: skip
    height = figure.get_figheight()
    figure.subplots_adjust(left=2.3 / figure.get_figwidth(), right=0.99, top=1 - 0.4 / height, bottom=0.3 / height,
                           wspace=0.06, hspace=0.08)  # fmt: skip
    return finish(figure, tables, title)


def lambda_sweep(tables: Path) -> Figure:
    """Accuracy on test and on the regions' test draws against lambda (post, figure 5)."""
    sweep, title = read_table(result_path(tables, "lambda_sweep.csv")), "correction against lambda"
    baseline = read_table(result_path(tables, "baseline.csv"))
    arms = sweep[sweep.arm == "correction"]
    if arms.region_test_accuracy.isna().all():
        return empty(tables, title, "No region was accepted, so there is nothing to correct.")
    figure, axes = pyplot.subplots(figsize=(6.6, 4.0))
    smallest = arms["lambda"][arms["lambda"] > 0].min()
    measures = (("test_accuracy", TEST, "original test set"), ("region_test_accuracy", REGIONS, "region test draws"))
    chosen_baseline = baseline[baseline.chosen.astype(bool)]
    for measure, colour, name in measures:
        placed = arms.assign(position=arms["lambda"].clip(lower=smallest / 10))
        draw_over_seeds(axes, placed, "position", measure, colour, name)
        before = sweep[sweep.arm == "before"][measure].mean()
        axes.axhline(before, color=colour, linestyle=":", linewidth=1, label=f"{name}, before")
        if len(chosen_baseline):
            axes.axhline(chosen_baseline[measure].mean(), color=colour, linestyle="--", linewidth=1,
                         label=f"{name}, baseline")  # fmt: skip
    for value in arms[arms.chosen.astype(bool)]["lambda"].unique():
        axes.axvline(max(value, smallest / 10), color="#999999", linewidth=6, alpha=0.25, zorder=0)
    axes.set_xscale("log")
    ticks = sorted(arms["lambda"].clip(lower=smallest / 10).unique())
    axes.set_xticks(ticks, ["0", *(f"{value:g}" for value in ticks[1:])], fontsize=7)
    axes.minorticks_off()
    axes.set(xlabel="lambda, weight of the region loss (grey: chosen on validation)", ylabel="accuracy",
             ylim=(-0.02, 1.02))  # fmt: skip
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.subplots_adjust(left=0.09, right=0.72, top=0.9, bottom=0.17)
    return finish(figure, tables, title)


def tsne(tables: Path) -> Figure:
    """t-SNE of the latent space: training codes and codes of mistakes, three of them decoded (post, figure 3)."""
    data = load_arrays(result_path(tables, "tsne.npz"))
    figure, axes = pyplot.subplots(figsize=(6.6, 5.2))
    training, mistakes = data["training"], data["mistakes"]
    axes.scatter(training[:, 0], training[:, 1], s=5, color="#7FB7DB", linewidth=0, label="training images")
    axes.scatter(mistakes[:, 0], mistakes[:, 1], s=4, color="black", linewidth=0, label="identified mistakes")
    for position, shown in enumerate(data["shown"]):
        point = mistakes[shown]
        axes.scatter(point[0], point[1], s=30, color="red", zorder=3)
        inset = axes.inset_axes((1.03, 0.68 - 0.33 * position, 0.26, 0.27))
        show_image(inset, data["images"][position])
        inset.set_title(f"{data['label'][position]} taken for {data['prediction'][position]}", fontsize=7, color="red")
        axes.annotate("", xy=point, xytext=(1.03, 0.8 - 0.33 * position), textcoords="axes fraction",
                      arrowprops={"arrowstyle": "-", "color": "red", "linewidth": 0.7})  # fmt: skip
    axes.set(xticks=[], yticks=[], xlabel="t-SNE of latent codes (no unit)")
    axes.legend(loc="upper left", fontsize=7, markerscale=2, frameon=True)
    figure.subplots_adjust(left=0.05, right=0.76, top=0.92, bottom=0.1)
    return finish(figure, tables, "latent space")


def causes(tables: Path) -> Figure:
    """Why the identified images count as mistakes, by the oracles; intervals are Wilson's, per seed."""
    table = read_table(result_path(tables, "causes.csv"))
    figure, axes = pyplot.subplots(figsize=(6.6, 2.9))
    seeds, order = sorted(table.seed.unique()), list(CAUSE_COLOURS)
    for offset, seed in enumerate(seeds):
        rows = table[table.seed == seed].set_index("cause").loc[order]
        where = np.arange(len(order)) + (offset - (len(seeds) - 1) / 2) * 0.8 / len(seeds)
        spread = np.clip([rows.share - rows.low, rows.high - rows.share], 0, None)
        axes.barh(where, rows.share, 0.72 / len(seeds), xerr=spread, color=list(CAUSE_COLOURS.values()),
                  error_kw={"linewidth": 1, "capsize": 2})  # fmt: skip
    axes.set_yticks(range(len(order)), order)
    axes.invert_yaxis()
    axes.set(xlabel="share of the identified mistakes (95 % interval)", xlim=(0, 1))
    count = table.groupby("seed").mistakes.sum().min()
    figure.subplots_adjust(left=0.22, right=0.97, top=0.86, bottom=0.24)
    return finish(figure, tables, f"causes of {count:,} identified mistakes")


def acceptance(tables: Path) -> Figure:
    """Accepted and rejected regions against the agreement that the annotators must reach."""
    table, title = read_table(result_path(tables, "acceptance.csv")), "regions against annotator strictness"
    if table.empty:
        return empty(tables, title, "No component of the mixture is heavy enough to be a region.")
    counts = pd.crosstab(table.minimum_agreement, table.verdict) / table.seed.nunique()
    counts = counts.reindex(columns=list(VERDICT_COLOURS), fill_value=0)
    figure, axes = pyplot.subplots(figsize=(6.6, 3.4))
    counts.plot.bar(stacked=True, color=list(VERDICT_COLOURS.values()), ax=axes, rot=0, width=0.7)
    axes.set(xlabel="least agreement for a region (share of votes)", ylabel="regions per seed")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.subplots_adjust(left=0.1, right=0.77, top=0.89, bottom=0.2)
    return finish(figure, tables, title)


def noise(tables: Path) -> Figure:
    """What each noise finds: share of draws that the classifier gets wrong, split by what the oracles say."""
    table = read_table(result_path(tables, "noise.csv")).drop(columns="seed")
    means = table.groupby("noise", sort=False).mean()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.6, 3.6), sharey=True)
    position = np.arange(len(means))
    columns = {"classifier_mistake": "classifier mistake", "label_changed": "label changed",
               "third_label": "third label", "not_recognisable": "not recognisable"}  # fmt: skip
    parts = {cause: (means.wrong * means[column].fillna(0)).to_numpy() for column, cause in columns.items()}
    stack_causes(left, parts, 0.8)
    left.set_yticks(position, [name.replace("_", " ") for name in means.index])
    left.invert_yaxis()
    left.set(xlabel="share of draws classified wrongly, by cause")
    left.legend(fontsize=7, frameon=False)
    right.plot(means.label_kept, position, "o", color=TEST, label="keeps its label (of recognisable)")
    right.plot(means.recognisable, position, "s", color=BASELINE, label="recognisable", markerfacecolor="none")
    right.set(xlabel="share of draws, by the oracles", xlim=(0, 1.02))
    right.legend(fontsize=7, frameon=False, loc="lower left")
    figure.subplots_adjust(left=0.13, right=0.98, top=0.89, bottom=0.19, wspace=0.08)
    return finish(figure, tables, "noise distributions")


def novelty(tables: Path) -> Figure:
    """Failing region samples above their nearest misclassified training images (post, figure 6)."""
    data, title = load_arrays(result_path(tables, "novelty.npz")), "region samples and their nearest training mistakes"
    if len(data["label"]) == 0 or data["neighbour"].shape[1] == 0:
        return empty(tables, title, "No failing region sample, or no misclassified training image.")
    # One sample of each region in turn, so that no region fills the figure.
    rank = pd.Series(data["region"]).groupby(data["region"]).cumcount().to_numpy()
    chosen = np.lexsort((data["region"], rank))[:10]
    figure, grid = pyplot.subplots(2, len(chosen), figsize=(1.2 + 0.85 * len(chosen), 3.1), squeeze=False)
    for column, sample in enumerate(chosen):
        rows = ((data["samples"][sample], data["label"][sample], data["prediction"][sample]),
                (data["neighbour"][sample, 0], data["neighbour_label"][sample, 0],
                 data["neighbour_prediction"][sample, 0]))  # fmt: skip
        for row, (image, label, prediction) in enumerate(rows):
            show_image(grid[row, column], np.moveaxis(image, 0, -1))
            grid[row, column].set_title(f"{label} taken\nfor {prediction}", fontsize=7)
    for row, name in enumerate(("region\nsample", "nearest\ntraining\nmistake")):
        grid[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(left=0.95 / figure.get_figwidth(), right=0.99, top=0.76, bottom=0.09, hspace=0.45)
    return finish(figure, tables, title)
