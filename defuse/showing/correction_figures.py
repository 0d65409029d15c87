"""Figures of the correction: accuracy against lambda, and beside the baseline."""

from pathlib import Path

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defuse.core.storage import read_table
from defuse.evidence.results import measures_by_seed, result_path
from defuse.showing.drawing import REGIONS, TEST, draw_over_seeds, empty, finish
from defuse.showing.report import FEWEST_FOR_INTERVAL, OUTCOMES, shown_over_seeds


def lambda_sweep(tables: Path) -> Figure:
    """Accuracy on test and on the regions' test draws against lambda (post, figure 5).

    A network that diverged has no accuracy: a cross marks its lambda.
    """
    title = "correction against lambda (dots: seeds, lines: medians)"
    sweep = read_table(result_path(tables, "lambda_sweep.csv"))
    baseline = read_table(result_path(tables, "baseline.csv"))
    arms = sweep[sweep.arm == "correction"]
    if sweep.region_test_accuracy.isna().all():
        return empty(tables, title, "No region was accepted, so there is nothing to correct.")
    figure, axes = pyplot.subplots(figsize=(6.6, 4.0))
    smallest = arms["lambda"][arms["lambda"] > 0].min()
    arms = arms.assign(position=arms["lambda"].clip(lower=smallest / 10))
    measures = (("test_accuracy", TEST, "original test set"), ("region_test_accuracy", REGIONS, "region test draws"))
    chosen_baseline = baseline[baseline.chosen.astype(bool)]
    for measure, colour, name in measures:
        draw_over_seeds(axes, arms, "position", measure, colour, name)
        before = sweep[sweep.arm == "before"][measure].median()
        axes.axhline(before, color=colour, linestyle=":", linewidth=1, label=f"{name}, before")
        if len(chosen_baseline):
            axes.axhline(
                chosen_baseline[measure].median(), color=colour, linestyle="--", linewidth=1, label=f"{name}, baseline"
            )
    for value in arms[arms.chosen.astype(bool)]["lambda"].unique():
        axes.axvline(max(value, smallest / 10), color="#999999", linewidth=6, alpha=0.25, zorder=0)
    mark_diverged(axes, arms)
    axes.set_xscale("log")
    ticks = sorted(arms.position.unique())
    axes.set_xticks(ticks, ["0", *(f"{value:g}" for value in ticks[1:])], fontsize=7)
    axes.minorticks_off()
    axes.set(
        xlabel="lambda, weight of the region loss (grey: chosen on validation)", ylabel="accuracy", ylim=(-0.02, 1.02)
    )
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.subplots_adjust(left=0.09, right=0.72, top=0.86, bottom=0.17)
    return finish(figure, tables, title)


def mark_diverged(axes: Axes, arms: pd.DataFrame) -> None:
    """Crosses above the axes where arms diverged, with how many of several seeds above each.

    Args:
        axes: of accuracy against lambda.
        arms: all seeds' arms, with columns position (of lambda), diverged and seed.
    """
    counts = arms.groupby("position").diverged.agg(["sum", "size"]).query("sum > 0")
    if counts.empty:
        return
    above = axes.get_xaxis_transform()
    (crosses,) = axes.plot(counts.index, [1.02] * len(counts), "x", color="black", markersize=4, label="diverged")
    crosses.set(transform=above, clip_on=False)
    if arms.seed.nunique() > 1:
        for position, diverged, seeds in counts.itertuples():
            axes.text(position, 1.035, f"{diverged} of {seeds}", fontsize=6, ha="center", transform=above)


def results_table(tables: Path) -> Figure:
    """Accuracy on test and on the regions' test draws before, after the baseline and after correction (table)."""
    measures, title = measures_by_seed(tables), "accuracy"
    columns = {"test": ("original test set", TEST), "region_test": ("region test draws", REGIONS)}
    if measures.get("outcome.region_test_after_correction", pd.Series(dtype=float)).isna().all():
        return empty(tables, title, "No region was accepted, so there is nothing to correct.")
    figure, axes = pyplot.subplots(figsize=(11, 2.2))
    axes.set_axis_off()
    body = axes.table(
        [[shown_over_seeds("{:.1%}", measures[f"outcome.{column}_{row}"]) for column in columns] for row in OUTCOMES],
        rowLabels=list(OUTCOMES.values()),
        colLabels=[name for name, _ in columns.values()],
        cellLoc="center",
        loc="center",
        colWidths=[0.5] * len(columns),
        edges="horizontal",
    )
    body.auto_set_font_size(False)
    body.set_fontsize(9)
    body.scale(1, 1.5)
    for column, (_, colour) in enumerate(columns.values()):
        body[0, column].get_text().set(color=colour, fontweight="bold")
    seeds = len(measures["outcome.test_before"])
    figure.subplots_adjust(left=0.36, right=0.98, top=0.82, bottom=0.12)
    many = "median and 95% interval, or each seed" if seeds >= FEWEST_FOR_INTERVAL else "each seed"
    return finish(figure, tables, f"{title} ({'one seed' if seeds == 1 else many})")
