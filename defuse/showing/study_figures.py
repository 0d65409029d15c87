"""Figures of the studies: noise, searches, autoencoders, draws and mixtures of regions, rivals."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from defuse.core.storage import read_table
from defuse.evidence.results import result_path
from defuse.showing.drawing import (
    CAUSE_COLOURS,
    FIRST_MEASURE,
    MISTAKES,
    REGIONS,
    SECOND_MEASURE,
    TEST,
    THIRD_MEASURE,
    draw_over_seeds,
    draw_values,
    empty,
    finish,
    stack_causes,
)


def draw_causes(axes: Axes, table: pd.DataFrame, key: str) -> None:
    """For each value of `key` a stacked bar for each seed: shares of the judged mistakes by cause."""
    stack_causes(axes, table, key, {cause: table[cause.replace(" ", "_")] for cause in CAUSE_COLOURS})
    axes.set(xlabel="share of the judged mistakes, by cause\n(a bar for each seed)", xlim=(0, 1))
    axes.legend(fontsize=6.5, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))


def draw_curves(axes: Axes, table: pd.DataFrame, key: str, columns: dict[str, tuple[str, str]]) -> None:
    """Some columns against `key`, by `draw_over_seeds`; each has a colour and a name."""
    for column, (colour, name) in columns.items():
        draw_over_seeds(axes, table, key, column, colour, name)
    axes.legend(fontsize=7, frameon=False)


def noise(tables: Path) -> Figure:
    """What each noise finds: share of draws that the classifier gets wrong, split by what the oracles say."""
    table = read_table(result_path(tables, "noise.csv"))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.6, 3.6), sharey=True)
    columns = {
        "classifier_mistake": "classifier mistake",
        "label_changed": "label changed",
        "third_label": "third label",
        "not_recognisable": "not recognisable",
    }
    stack_causes(left, table, "noise", {cause: table.wrong * table[column] for column, cause in columns.items()})
    left.set(xlabel="share of draws classified wrongly, by cause\n(a bar for each seed)")
    left.legend(fontsize=7, frameon=False)
    draw_values(right, table, "noise", "label_kept", FIRST_MEASURE, "keeps its label (of recognisable)")
    draw_values(right, table, "noise", "recognisable", THIRD_MEASURE, "recognisable")
    right.set(xlabel="share of draws, by the oracles\n(dots: seeds, marks: medians)", xlim=(0, 1.02))
    right.legend(fontsize=7, frameon=False, loc="upper left")
    figure.subplots_adjust(left=0.13, right=0.98, top=0.89, bottom=0.24, wspace=0.08)
    return finish(figure, tables, "noise distributions")


def searches(tables: Path) -> Figure:
    """What whole searches find (seed source, noise, draws), and what a mistake of the classifier costs in draws."""
    table = read_table(result_path(tables, "searches.csv"))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.6, 3.8), sharey=True, width_ratios=(2, 1))
    draw_causes(left, table, "search")
    draw_values(right, table, "search", "draws_per_classifier_mistake", FIRST_MEASURE)
    right.set(xlabel="draws for one mistake\nof the classifier (dots: seeds)")
    if np.isfinite(table.draws_per_classifier_mistake).any():
        right.set_xscale("log")
        right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        right.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        right.xaxis.set_minor_formatter(NullFormatter())
    figure.subplots_adjust(left=0.16, right=0.98, top=0.78, bottom=0.21, wspace=0.06)
    return finish(figure, tables, "searches, with equally many mistakes judged")


def vaes(tables: Path) -> Figure:
    """Each autoencoder's settings against right reconstructions, and the causes of what is found then."""
    table = read_table(result_path(tables, "vaes.csv"), "feature_weight")
    names = {
        row.vae: f"{row.vae} ({row.likelihood}{' + features' if row.feature_weight else ''}, {row.latent_dim} latent, "
        f"width {row.width})"
        for row in table.itertuples()
    }
    table = table.assign(vae=table.vae.map(names))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.4, 3.8), sharey=True, width_ratios=(5, 3))
    draw_causes(left, table, "vae")
    draw_values(right, table, "vae", "reconstruction_accuracy", FIRST_MEASURE)
    right.set(xlabel="right reconstructions of validation\nimages that are right (dots: seeds)")
    figure.subplots_adjust(left=0.36, right=0.98, top=0.78, bottom=0.21, wspace=0.06)
    return finish(figure, tables, "autoencoders")


def tau(tables: Path) -> Figure:
    """How far a region's draws spread against how often they fail and how well annotators agree."""
    table, title = read_table(result_path(tables, "taus.csv")), "how far the draws of a region spread"
    if table.variety.isna().all():
        return empty(tables, title, "No component of the mixture is heavy enough to be a region.")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.6, 3.5))
    draw_curves(
        left,
        table,
        "tau",
        {
            "failure_rate": (REGIONS, "recognisable draws that fail"),
            "agreement": (FIRST_MEASURE, "annotators' agreement"),
            "recognisable": (THIRD_MEASURE, "recognisable draws"),
        },
    )
    draw_curves(right, table, "tau", {"variety": (SECOND_MEASURE, "mean distance of two draws")})
    left.set(xscale="log", ylim=(-0.02, 1.02), xlabel="tau, factor on the covariance", ylabel="mean over regions")
    right.set(xscale="log", xlabel="tau, factor on the covariance", ylabel="pixel distance (L2)")
    right.set_ylim(bottom=0)
    figure.subplots_adjust(left=0.08, right=0.98, top=0.88, bottom=0.2, wspace=0.22)
    return finish(figure, tables, title)


def mixtures(tables: Path) -> Figure:
    """Number of regions, and of those accepted, against the mixture's truncation and concentration prior."""
    table = read_table(result_path(tables, "mixtures.csv"))
    figure, panels = pyplot.subplots(1, 2, figsize=(8.6, 3.5), sharex=True)
    colours = (FIRST_MEASURE, SECOND_MEASURE, THIRD_MEASURE)
    for axes, column in zip(panels, ("regions", "accepted")):
        for number, (prior, part) in enumerate(table.groupby("prior", sort=False)):
            draw_curves(axes, part, "components", {column: (colours[number % 3], f"prior {prior}")})
        axes.set(xlabel="truncation K", ylabel={"regions": "regions", "accepted": "accepted regions"}[column])
        axes.set_ylim(bottom=0)
        axes.set_xticks(sorted(table.components.unique()))
    figure.subplots_adjust(left=0.08, right=0.98, top=0.88, bottom=0.2, wspace=0.22)
    return finish(figure, tables, "regions against truncation and prior")


def rivals(tables: Path) -> Figure:
    """Accuracy after fine-tuning with regions and with each rival, for the same number of labels."""
    table = read_table(result_path(tables, "rivals.csv"))
    columns = {
        "region_test_accuracy": (REGIONS, "regions' test draws"),
        "mistake_test_accuracy": (MISTAKES, "single mistakes, unseen"),
        "test_accuracy": (TEST, "original test set"),
    }
    costs = table.groupby("arm", sort=False)[["labels_asked", "images"]].mean()
    height = max(3.6, 1.15 + 0.27 * len(costs))  # inches; a name and a cost below it need so much
    figure, panels = pyplot.subplots(1, 3, figsize=(9.4, height), sharey=True)
    for axes, (column, (colour, name)) in zip(panels, columns.items()):
        draw_values(axes, table, "arm", column, colour)
        axes.set(xlabel=f"accuracy, {name}")
        axes.grid(axis="y", linewidth=0.4)
    panels[0].set_yticks(
        range(len(costs)),
        [
            f"{str(arm).replace('_', ' ')}\n{row.labels_asked:.0f} labels, {row.images:.0f} images"
            for arm, row in costs.iterrows()
        ],
        fontsize=7,
    )
    figure.subplots_adjust(left=0.21, right=0.98, top=1 - 0.43 / height, bottom=0.72 / height, wspace=0.08)
    return finish(figure, tables, "regions and their rivals (dots: seeds)")
