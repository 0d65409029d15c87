"""Figures of the misclassification regions: the procedure, their draws, what annotators accept."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from defuse.core.params import DESCRIBED
from defuse.core.storage import load_arrays, read_table
from defuse.data.class_names import class_name
from defuse.evidence.bugs import clearest_bug
from defuse.evidence.results import of_first_seed, provenance, result_path
from defuse.showing.drawing import VERDICT_COLOURS, empty, finish, show_image, show_prediction

NO_REGION = "No component of the mixture is heavy enough to be a region."


def procedure(tables: Path) -> Figure:
    """Three regions: identified mistakes beside their seeds, draws, and the same draws after correction (figure 1)."""
    members, shown = load_arrays(result_path(tables, "members.npz")), load_arrays(result_path(tables, "regions.npz"))
    table, title = of_first_seed(tables, "regions.csv"), "identification, distillation, correction"
    if len(shown["region"]) == 0:
        return empty(tables, title, NO_REGION)
    table = table.set_index("region")
    rows, pairs, draws = min(3, len(shown["region"])), 3, min(5, shown["images"].shape[1])
    corrected = len(of_first_seed(tables, "corrected_regions.csv")) > 0  # else no region was accepted
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
        label = "nothing" if facts.label < 0 else f"{facts.label:.0f}"
        row[2 * pairs + 1].set_title(
            f"region {region}, {facts.verdict}; annotators: {label}", fontsize=6.5, pad=2, loc="left"
        )
    height = figure.get_figheight()
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.75 / height, bottom=0.25 / height, wspace=0.06, hspace=0.25)
    # matplotlib centres no text over several axes.
    for start, count, text in (
        (0, 2 * pairs, "1. identified: seed image, then the mistake"),
        (2 * pairs + 1, draws, "2. distilled: draws of the region"),
        (2 * pairs + draws + 2, draws, "3. the same draws after correction" if corrected else "3. nothing to correct"),
    ):
        left, right = grid[0, start].get_position().x0, grid[0, start + count - 1].get_position().x1
        figure.text((left + right) / 2, 1 - 0.52 / height, text, ha="center", fontsize=8, fontweight="bold")
    return finish(figure, tables, f"{title} (orange: wrong)")


def named_bug(tables: Path) -> Figure:
    """The first seed's clearest bug: mistakes below the images they were found around, draws before and after."""
    shown, members = (load_arrays(result_path(tables, f"{name}.npz")) for name in ("regions", "members"))
    bug = clearest_bug(of_first_seed(tables, "regions.csv"), DESCRIBED)
    if bug is None:
        return empty(tables, "a named bug", "Annotators accepted no region as a bug.")
    dataset, pairs, draws = str(provenance(tables)["dataset"]), 3, min(5, shown["images"].shape[1])
    (place,), own = np.flatnonzero(shown["region"] == bug.region), np.flatnonzero(members["region"] == bug.region)
    corrected = of_first_seed(tables, "corrected_regions.csv").set_index("region")
    figure, grid = pyplot.subplots(
        2, pairs + 1 + draws, figsize=(9.6, 2.6), width_ratios=[1] * pairs + [1.35] + [1] * draws, squeeze=False
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for column, member in enumerate(own[:pairs]):
        show_image(grid[0, column], members["seed_images"][member])
        show_image(grid[1, column], members["mistakes"][member])
        show_prediction(grid[1, column], members["prediction"][member], False)
    for row, kind in zip(grid, ("prediction", "prediction_after")):
        for draw, axes in enumerate(row[pairs + 1 :]):
            prediction = shown[kind][place, draw]
            show_image(axes, shown["images"][place, draw])
            show_prediction(axes, prediction, prediction == bug.label)
    after = corrected.accuracy_after.get(bug.region, np.nan)
    labels = (
        (grid[0, 0], "known images"),
        (grid[1, 0], "mistakes found\naround them"),
        (grid[0, pairs + 1], f"new images:\n{1 - bug.failure_rate:.0%} right"),
        (grid[1, pairs + 1], "nothing\ncorrected" if np.isnan(after) else f"corrected:\n{after:.0%} right"),
    )
    for axes, text in labels:
        axes.text(-0.12, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=9)
    figure.subplots_adjust(left=0.125, right=0.99, top=0.85, bottom=0.1, wspace=0.06, hspace=0.08)
    names = (class_name(dataset, int(label)) for label in (bug.label, bug.prediction))
    return finish(figure, tables, "annotators call this {}, the classifier {} (orange: wrong)".format(*names))


def regions(tables: Path) -> Figure:
    """The draws that the annotators saw of each region, the prediction in the corner (post, figure 4)."""
    data, title = load_arrays(result_path(tables, "regions.npz")), "misclassification regions and their annotation"
    table = of_first_seed(tables, "regions.csv").set_index("region")
    count = len(data["region"])
    if count == 0:
        return empty(tables, title, NO_REGION)
    samples = data["images"].shape[1]
    figure, grid = pyplot.subplots(count, samples, figsize=(3.2 + 0.62 * samples, 0.9 + 0.66 * count), squeeze=False)
    for row, region in enumerate(data["region"]):
        facts = table.loc[region]
        label = "nothing" if facts.label < 0 else f"{facts.label:.0f} ({facts.agreement:.0%} of votes)"
        # Without a label that annotators recognise, a failure rate would measure nothing.
        failure = "" if facts.verdict == "not recognisable" else f", fails on {facts.failure_rate:.0%}"
        text = f"region {region}: {facts.verdict}\nannotators: {label}\nclassifier: {facts.prediction:.0f}{failure}"
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


def acceptance(tables: Path) -> Figure:
    """Accepted and rejected regions against the agreement that the annotators must reach."""
    table, title = read_table(result_path(tables, "acceptance.csv")), "regions by the annotators' strictness"
    if table.empty:
        return empty(tables, title, NO_REGION)
    counts = table.groupby(["minimum_agreement", "seed", "verdict"]).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(VERDICT_COLOURS), fill_value=0)
    strictness, seeds = (sorted(table[name].unique()) for name in ("minimum_agreement", "seed"))
    width = 0.8 / len(seeds)
    offset = (counts.index.get_level_values("seed").map(seeds.index) - (len(seeds) - 1) / 2) * width
    position = counts.index.get_level_values("minimum_agreement").map(strictness.index) + offset
    figure, axes = pyplot.subplots(figsize=(6.6, 3.4))
    start = np.zeros(len(counts))
    for verdict, colour in VERDICT_COLOURS.items():
        axes.bar(position, counts[verdict], 0.9 * width, bottom=start, color=colour, linewidth=0, label=verdict)
        start += counts[verdict].to_numpy()
    axes.set_xticks(range(len(strictness)), [f"{value:g}" for value in strictness])
    axes.set(xlabel="agreement required of a region (share of votes)", ylabel="regions (a bar for each seed)")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.subplots_adjust(left=0.1, right=0.77, top=0.89, bottom=0.2)
    return finish(figure, tables, title)
