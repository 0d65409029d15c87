"""The paper's figures, as the other figures are in `defuse.showing.plots`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from defuse.core.storage import load_arrays, read_table
from defuse.evidence.results import of_first_seed, result_path
from defuse.showing.plots import REGIONS, TEST, draw_over_seeds, empty, finish, show_image, show_prediction

NO_REGION = "No component of the mixture is heavy enough to be a region."


def procedure(tables: Path) -> Figure:
    """Three regions: identified mistakes beside their seeds, draws, and the same draws after correction (figure 1)."""
    members, shown = load_arrays(result_path(tables, "members.npz")), load_arrays(result_path(tables, "regions.npz"))
    table, title = of_first_seed(tables, "regions.csv"), "identification, distillation, correction"
    if len(shown["region"]) == 0:
        return empty(tables, title, NO_REGION)
    table = table.set_index("region")
    rows, pairs, draws = min(3, len(shown["region"])), 3, min(5, shown["images"].shape[1])
    # Narrow, empty columns part the three steps.
    widths = [1] * 2 * pairs + [0.5] + [1] * draws + [0.5] + [1] * draws
    figure, grid = pyplot.subplots(
        rows, len(widths), figsize=(9.6, 1.0 + 0.75 * rows), squeeze=False, width_ratios=widths
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for place, (region, row) in enumerate(zip(shown["region"], grid)):
        facts, own = table.loc[region], np.flatnonzero(members["region"] == region)[:pairs]
        for number, member in enumerate(own):
            left, right = row[2 * number : 2 * number + 2]
            show_image(left, members["seed_images"][member])
            show_image(right, members["mistakes"][member])
            show_prediction(right, members["prediction"][member], False)
            left.set_title(f"seed: {members['label'][member]}", fontsize=6.5, pad=2)
        for kind, start in (("prediction", 2 * pairs + 1), ("prediction_after", 2 * pairs + draws + 2)):
            for draw, axes in enumerate(row[start : start + draws]):
                show_image(axes, shown["images"][place, draw])
                prediction = shown[kind][place, draw]
                show_prediction(axes, prediction, facts.label < 0 or prediction == facts.label)
        label = "none" if facts.label < 0 else f"{facts.label:.0f}"
        row[2 * pairs + 1].set_title(
            f"region {region}, {facts.verdict}; annotators: {label}", fontsize=6.5, pad=2, loc="left"
        )
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.75 / height, bottom=0.25 / height, wspace=0.06, hspace=0.25)
    # matplotlib centres no text over several axes.
    for start, count, text in (
        (0, 2 * pairs, "1. identified: seed image, then the mistake"),
        (2 * pairs + 1, draws, "2. distilled: draws of the region"),
        (2 * pairs + draws + 2, draws, "3. the same draws after correction"),
    ):
        left, right = grid[0, start].get_position().x0, grid[0, start + count - 1].get_position().x1
        figure.text((left + right) / 2, 1 - 0.52 / height, text, ha="center", fontsize=8, fontweight="bold")
    return finish(figure, tables, f"{title} (orange: wrong)")


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


def regions(tables: Path) -> Figure:
    """The draws that the annotators saw of each region, the prediction in the corner (post, figure 4)."""
    data, title = load_arrays(result_path(tables, "regions.npz")), "misclassification regions and their annotation"
    table = of_first_seed(tables, "regions.csv").set_index("region")
    count = len(data["region"])
    if count == 0:
        return empty(tables, title, "No component of the mixture is heavy enough to be a region.")
    samples = data["images"].shape[1]
    figure, grid = pyplot.subplots(count, samples, figsize=(3.2 + 0.62 * samples, 0.9 + 0.66 * count), squeeze=False)
    for row, region in enumerate(data["region"]):
        facts = table.loc[region]
        label = "nothing" if facts.label < 0 else f"{facts.label:.0f}"
        # Without a label that annotators recognise, a failure rate would measure nothing.
        failure = "" if facts.verdict == "not recognisable" else f", fails on {facts.failure_rate:.0%}"
        text = (
            f"region {region}: {facts.verdict}\nannotators: {label} ({facts.agreement:.0%} of votes)\n"
            f"classifier: {facts.prediction:.0f}{failure}"
        )
        for column in range(samples):
            axes = grid[row, column]
            show_image(axes, data["images"][row, column])
            show_prediction(axes, data["prediction"][row, column])
        grid[row, 0].text(
            -0.15,
            0.5,
            text,
            transform=grid[row, 0].transAxes,
            ha="right",
            va="center",
            fontsize=7,
            fontweight="bold" if facts.verdict == "accepted" else "normal",
        )
    height = figure.get_figheight()
    figure.subplots_adjust(
        left=2.3 / figure.get_figwidth(),
        right=0.99,
        top=1 - 0.4 / height,
        bottom=0.3 / height,
        wspace=0.06,
        hspace=0.08,
    )
    return finish(figure, tables, title)


def lambda_sweep(tables: Path) -> Figure:
    """Accuracy on test and on the regions' test draws against lambda (post, figure 5)."""
    sweep, title = read_table(result_path(tables, "lambda_sweep.csv")), "correction against lambda (bands: all seeds)"
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
            axes.axhline(
                chosen_baseline[measure].mean(), color=colour, linestyle="--", linewidth=1, label=f"{name}, baseline"
            )
    for value in arms[arms.chosen.astype(bool)]["lambda"].unique():
        axes.axvline(max(value, smallest / 10), color="#999999", linewidth=6, alpha=0.25, zorder=0)
    axes.set_xscale("log")
    ticks = sorted(arms["lambda"].clip(lower=smallest / 10).unique())
    axes.set_xticks(ticks, ["0", *(f"{value:g}" for value in ticks[1:])], fontsize=7)
    axes.minorticks_off()
    axes.set(
        xlabel="lambda, weight of the region loss (grey: chosen on validation)", ylabel="accuracy", ylim=(-0.02, 1.02)
    )
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
        rows = (
            (data["samples"][sample], data["label"][sample], data["prediction"][sample]),
            (data["neighbour"][sample, 0], data["neighbour_label"][sample, 0], data["neighbour_prediction"][sample, 0]),
        )
        for row, (image, label, prediction) in enumerate(rows):
            show_image(grid[row, column], np.moveaxis(image, 0, -1))
            grid[row, column].set_title(f"{label} taken\nfor {prediction}", fontsize=7)
    for row, name in enumerate(("region\nsample", "nearest\ntraining\nmistake")):
        grid[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(left=0.95 / figure.get_figwidth(), right=0.99, top=0.76, bottom=0.09, hspace=0.45)
    return finish(figure, tables, title)


def results_table(tables: Path) -> Figure:
    """Accuracy on test and on the regions' test draws before, after the baseline and after correction (table)."""
    means, title = read_table(result_path(tables, "means.csv")), "accuracy"
    means = means[means.stage == "outcome"].set_index("measure")
    rows = {
        "before": "before",
        "after_baseline": "after fine-tuning on mistakes alone (baseline)",
        "after_correction": "after correction with regions",
    }
    columns = {"test": ("original test set", TEST), "region_test": ("region test draws", REGIONS)}
    wanted = [f"{column}_{row}" for row in rows for column in columns]
    if not set(wanted) <= set(means.index) or np.isnan(means.loc["region_test_after_correction", "mean"]):
        return empty(tables, title, "No region was accepted, so there is nothing to correct.")

    def value(measure: str) -> str:
        facts = means.loc[measure]
        if np.isnan(facts["mean"]):
            return "-"
        spread = "" if np.isnan(facts.low) else f" ± {(facts.high - facts.low) / 2:.1%}"
        return f"{facts['mean']:.1%}{spread}"

    figure, axes = pyplot.subplots(figsize=(7.4, 1.9))
    axes.set_axis_off()
    body = axes.table(
        [[value(f"{column}_{row}") for column in columns] for row in rows],
        rowLabels=list(rows.values()),
        colLabels=[name for name, _ in columns.values()],
        cellLoc="center",
        loc="center",
        colWidths=[0.48] * len(columns),
        edges="horizontal",
    )
    body.auto_set_font_size(False)
    body.set_fontsize(9)
    body.scale(1, 1.5)
    for column, (_, colour) in enumerate(columns.values()):
        body[0, column].get_text().set(color=colour, fontweight="bold")
    seeds = means.loc[wanted, "seeds"].max()
    figure.subplots_adjust(left=0.46, right=0.98, top=0.82, bottom=0.12)
    spread = f"mean of {seeds:.0f} seeds ± half of its 95 % interval" if seeds > 1 else "one seed"
    return finish(figure, tables, f"{title} ({spread})")
