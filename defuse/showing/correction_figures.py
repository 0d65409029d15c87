"""Figures of the correction: accuracy against lambda, and beside the baseline."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defuse.core.storage import read_table
from defuse.evidence.results import result_path
from defuse.showing.drawing import REGIONS, TEST, draw_over_seeds, empty, finish


def lambda_sweep(tables: Path) -> Figure:
    """Accuracy on test and on the regions' test draws against lambda (post, figure 5).

    A network that diverged has no accuracy: a cross marks its lambda.
    """
    sweep, title = read_table(result_path(tables, "lambda_sweep.csv")), "correction against lambda (bands: all seeds)"
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
        before = sweep[sweep.arm == "before"][measure].mean()
        axes.axhline(before, color=colour, linestyle=":", linewidth=1, label=f"{name}, before")
        if len(chosen_baseline):
            axes.axhline(
                chosen_baseline[measure].mean(), color=colour, linestyle="--", linewidth=1, label=f"{name}, baseline"
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
    figure.subplots_adjust(left=0.09, right=0.72, top=0.9, bottom=0.17)
    return finish(figure, tables, title)


def mark_diverged(axes: Axes, arms: pd.DataFrame) -> None:
    """Crosses at the bottom of the axes where arms diverged, with how many of several seeds above each.

    Args:
        axes: of accuracy against lambda.
        arms: all seeds' arms, with columns position (of lambda), diverged and seed.
    """
    counts = arms.groupby("position").diverged.agg(["sum", "size"]).query("sum > 0")
    if counts.empty:
        return
    at_bottom = axes.get_xaxis_transform()
    axes.plot(counts.index, [0.04] * len(counts), "x", color="black", label="diverged", transform=at_bottom)
    if arms.seed.nunique() > 1:
        for position, diverged, seeds in counts.itertuples():
            axes.text(position, 0.08, f"{diverged} of {seeds}", fontsize=6, ha="center", transform=at_bottom)


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
