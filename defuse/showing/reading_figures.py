"""Figures of the three readings of the method: side by side, and what the repair rests on."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt8
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defuse.core.storage import load_arrays, read_table
from defuse.core.verdicts import RegionVerdict
from defuse.data.class_names import class_name
from defuse.evidence.results import of_first_seed, of_first_study_seed, provenance, result_path
from defuse.evidence.tables import UNSEEN_MISTAKES, usable_accuracies
from defuse.showing.drawing import (
    MISTAKES,
    REGIONS,
    TEST,
    VERDICT_COLOURS,
    draw_values,
    empty,
    finish,
    show_image,
)

# Each reading's heading, what it is, and its arm among the rivals.
READINGS = {
    "released": ("As released", "with the numbers of the authors' code", "released"),
    "described": ("As described", "the paper's words, with controls", "regions"),
    "repaired": ("Repaired", "checked, grouped by pair, members shown", "repaired"),
}
ABLATION = {
    "repaired": "repaired",
    "without_checker": "no checker",
    "without_pairs": "no groups by pair",
    "without_members": "no members shown",
    "without_noises": "only one noise",
}
VERDICT_COLUMNS = {
    RegionVerdict.ACCEPTED: "accepted",
    RegionVerdict.FALSE_ALARM: "false_alarms",
    RegionVerdict.NO_AGREEMENT: "no_agreement",
    RegionVerdict.NOT_RECOGNISABLE: "not_recognisable_regions",
}
SHOWN_REGIONS, SHOWN_IMAGES = 3, 5  # of each reading
CAPTION = 40  # letters of a caption that fit on a line
WIDTH, HEIGHT, LEFT = 11.0, 7.0, 0.13  # inches, inches, share of the width
FAINT = "#555555"
NOT_COMPARED = "The readings were not compared in this recording."


class Shown(NamedTuple):
    """Images of a reading's regions that annotators saw, and what is known of each region."""

    facts: pd.DataFrame  # a row for each region, in the order of the images
    images: UInt8[np.ndarray, "regions samples height width channels"]
    counts: Int64[np.ndarray, "regions"]  # how many images there are


def were_compared(tables: Path) -> bool:
    """Whether the tables are of a recording in which the readings were compared."""
    return result_path(tables, "readings.csv").is_file()


def shown_regions(tables: Path, reading: str) -> Shown:
    """The regions of a reading that figures show: the accepted ones first, then those that annotators agree on most."""
    if reading == "described":
        data = load_arrays(result_path(tables, "regions.npz"), "region", "images")
        table, images = of_first_seed(tables, "regions.csv"), data["images"]
        counts = np.full(len(images), images.shape[1] if len(images) else 0)
    else:
        data = load_arrays(result_path(tables, f"shown_{reading}.npz"), "region", "images", "shown")
        table, images, counts = of_first_study_seed(tables, "reading_regions.csv"), data["images"], data["shown"]
        table = table[table.reading == reading]
    facts = table.set_index("region").loc[data["region"]].reset_index()
    rejected = facts.verdict != RegionVerdict.ACCEPTED
    order = facts.assign(rejected=rejected).sort_values(["rejected", "agreement"], ascending=[True, False]).index
    return Shown(facts.loc[order], images[order], counts[order])


def said(region: pd.Series, dataset: str) -> str:
    """What annotators and the classifier say of a region."""
    annotators = {
        RegionVerdict.NO_AGREEMENT: "annotators disagree",
        RegionVerdict.NOT_RECOGNISABLE: "annotators: nothing",
    }.get(region.verdict) or f"annotators: {class_name(dataset, int(region.label))}"
    classifier = f"classifier: {class_name(dataset, int(region.prediction))}"
    return (", " if len(annotators) + len(classifier) < CAPTION else "\n").join((annotators, classifier))


def draw_shown(figure: Figure, box: tuple[float, float, float, float], shown: Shown, dataset: str) -> None:
    """A row of images for each of a few regions, what is said of it above; `box` is left, bottom, width, height."""
    left, bottom, width, height = box
    if not len(shown.facts):
        figure.text(left + width / 2, bottom + height / 2, "no region", ha="center", fontsize=12, color=FAINT)
    step, size = height / SHOWN_REGIONS, width / SHOWN_IMAGES
    for place in range(min(SHOWN_REGIONS, len(shown.facts))):
        facts, floor = shown.facts.iloc[place], bottom + height - (place + 1) * step
        accepted = facts.verdict == RegionVerdict.ACCEPTED
        figure.text(
            left,
            floor + 0.8 * step,
            said(facts, dataset),
            fontsize=9,
            va="bottom",
            linespacing=1,
            fontweight="bold" if accepted else "normal",
            color="black" if accepted else FAINT,
        )
        for number in range(min(SHOWN_IMAGES, shown.counts[place])):
            axes = figure.add_axes((left + number * size, floor + 0.06 * step, 0.95 * size, 0.72 * step), anchor="NW")
            show_image(axes, shown.images[place, number])


def draw_verdicts(axes: Axes, rows: pd.DataFrame, most: int) -> None:
    """A bar of the first seed's regions by verdict, with their counts, and a dot for each seed's accepted ones."""
    first, start = rows.iloc[0], 0
    for verdict, column in VERDICT_COLUMNS.items():
        count = int(first[column])
        axes.barh(0, count, 0.9, left=start, color=VERDICT_COLOURS[verdict], linewidth=0, label=verdict)
        if count > 0.025 * most * len(str(count)):  # else it has no room
            dark = verdict == RegionVerdict.ACCEPTED
            axes.text(start + count / 2, 0, str(count), ha="center", va="center", color="white" if dark else "black")
        start += count
    if len(rows) > 1:
        axes.plot(rows.accepted, np.full(len(rows), 0.68), "o", color=MISTAKES, markersize=4, alpha=0.8, clip_on=False)
    axes.text(
        0,
        -0.62,
        f"{first.accepted:.0f} of {first.regions:.0f} accepted",
        fontsize=13,
        fontweight="bold",
        color=MISTAKES if first.accepted else FAINT,
        va="bottom",
    )
    axes.set(xlim=(0, max(most, 1)), ylim=(0.8, -1.3))
    axes.set_axis_off()


def draw_repair(axes: Axes, before: pd.DataFrame, after: pd.DataFrame, trained: bool) -> None:
    """An arrow from the accuracy before correction to that after it, for unseen mistakes and for test images.

    Args:
        axes: of accuracies.
        before: of the classifier, a row for each seed, with columns unseen and test.
        after: the same of the corrected one.
        trained: whether any seed had something to train on.
    """
    rows = (("unseen", "unseen mistakes", MISTAKES, 0), ("test", "test images", TEST, 1))
    for place, (column, name, colour, digits) in enumerate(rows):
        values = (before[column].median(), after[column].median())
        if np.isnan(values).any():
            axes.text(0, place, f"no {name} to measure", fontsize=9, color=FAINT, va="bottom")
            continue
        axes.plot([0, 1], [place] * 2, color="#EEEEEE", linewidth=5, solid_capstyle="round", zorder=0)
        axes.annotate(
            "", (values[1], place), (values[0], place), arrowprops={"arrowstyle": "-", "color": colour, "lw": 3}
        )
        axes.plot(before[column], np.full(len(before), place), "o", color="white", markeredgecolor=colour, markersize=6)
        axes.plot(after[column], np.full(len(after), place), "o", color=colour, markersize=6, alpha=0.8)
        words = f"{name} {' → '.join(f'{value:.{digits}%}' for value in values)}"
        axes.text(0, place - 0.2, words, fontsize=12, fontweight="bold", color=colour, va="bottom")
    if not trained:
        axes.text(1, 0.1, "nothing to train on", fontsize=9, color=FAINT, va="top", ha="right")
    axes.set(xlim=(-0.02, 1.02), ylim=(1.4, -0.8), yticks=())
    axes.set_xticks((0, 0.5, 1), ("0%", "50%", "100%"), fontsize=8)
    first, _, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.spines[:].set_visible(False)


def corrected(tables: Path) -> tuple[pd.DataFrame, pd.Series]:
    """What arms of the rivals do to unseen mistakes and test images.

    Returns:
        Accuracies by (seed, arm) with columns unseen, the mean over the three kinds of mistakes, and test; and whether
        an arm left a usable network. One that did not leaves the classifier as it was.
    """
    rivals = read_table(result_path(tables, "rivals.csv"), "seed", "arm", "test_accuracy", *UNSEEN_MISTAKES)
    accuracies = usable_accuracies(rivals, ("test_accuracy", *UNSEEN_MISTAKES))
    unseen = accuracies[list(UNSEEN_MISTAKES)].mean(axis=1)
    table = pd.DataFrame({"unseen": unseen, "test": accuracies.test_accuracy})
    return table, rivals.set_index(["seed", "arm"]).test_accuracy.notna()


def readings(tables: Path) -> Figure:
    """The three readings side by side: what annotators were shown, what they said of it, what was repaired."""
    title = "three readings of the method"
    if not were_compared(tables):
        return empty(tables, title, NOT_COMPARED)
    table, dataset = (
        read_table(result_path(tables, "readings.csv"), "seed", "reading"),
        str(provenance(tables)["dataset"]),
    )
    accuracies, usable = corrected(tables)
    figure = pyplot.figure(figsize=(WIDTH, HEIGHT))
    width = (0.99 - LEFT) / len(READINGS)
    before = accuracies.xs("before", level="arm")
    most = int(table[table.reading.isin(READINGS)].regions.max())
    for place, (reading, (heading, remark, arm)) in enumerate(READINGS.items()):
        left, own = LEFT + place * width, 0.92 * width
        figure.text(left, 0.9, heading, fontsize=17, fontweight="bold", va="bottom")
        figure.text(left, 0.873, remark, fontsize=9, color=FAINT, va="bottom")
        draw_shown(figure, (left, 0.44, own, 0.4), shown_regions(tables, reading), dataset)
        bars = figure.add_axes((left, 0.315, own, 0.115))
        draw_verdicts(bars, table[table.reading == reading], most)
        if place == 0:
            figure.legend(
                *bars.get_legend_handles_labels(),
                loc="upper left",
                bbox_to_anchor=(LEFT - 0.01, 0.318),
                ncols=len(VERDICT_COLUMNS),
                frameon=False,
                fontsize=9,
                handlelength=1,
            )
        after, trained = (part.xs(arm, level="arm") for part in (accuracies, usable))
        draw_repair(figure.add_axes((left, 0.085, own, 0.155)), before, after, bool(trained.any()))
    for height, words in (
        (0.64, "What\nannotators\nwere shown"),
        (0.37, "What they\nsaid"),
        (0.165, "What was\nrepaired"),
    ):
        figure.text(0.01, height, words, fontsize=12, fontweight="bold", va="center")
    many = "dots: each seed; bars and images: the first; percentages: medians" if len(before) > 1 else "one seed"
    words = f"accuracy before → after correction; unseen mistakes: mean over those of the three searches ({many})"
    figure.text(LEFT, 0.027, words, fontsize=8, color=FAINT, va="bottom")
    return finish(figure, tables, title)


def repair(tables: Path) -> Figure:
    """The repaired reading and what is left of it without each of its parts (dots: seeds)."""
    title = "the repair without each part (dots: seeds)"
    if not were_compared(tables):
        return empty(tables, title, NOT_COMPARED)
    table = read_table(result_path(tables, "readings.csv"), "seed", "reading")
    table = table[table.reading.isin(ABLATION)]
    names = [reading for reading in ABLATION if (table.reading == reading).any()]
    if len(names) < 2:
        return empty(tables, title, "The parts of the repair were not studied on these data.")
    accuracies, _ = corrected(tables)
    table = table.assign(
        share_accepted=(table.accepted / table.regions).where(table.regions > 0),
        unseen=[accuracies.unseen[row.seed, row.reading] for row in table.itertuples()],
        place=table.reading.map(names.index),
    ).sort_values(["place", "seed"])
    columns = {
        "share_accepted": (REGIONS, "regions that annotators accept,\nof those shown"),
        "classifier_mistake": (MISTAKES, "mistakes that are\nthe classifier's own"),
        "unseen": (TEST, "unseen mistakes that are right\nafter correction"),
    }
    figure, panels = pyplot.subplots(1, 3, figsize=(9.4, 3.4), sharey=True)
    for axes, (column, (colour, name)) in zip(panels, columns.items()):
        draw_values(axes, table, "reading", column, colour)
        whole = table[table.reading == "repaired"][column].median()
        axes.axvline(whole, color=colour, linestyle=":", linewidth=1)
        axes.axhspan(-0.5, 0.5, color="#F2F2F2", zorder=0)
        axes.set(xlabel=name, xlim=(-0.03, 1.03))
        axes.set_xticks((0, 0.5, 1), ("0%", "50%", "100%"))
    panels[0].set_yticks(range(len(names)), [ABLATION[name] for name in names], fontsize=10)
    panels[0].get_yticklabels()[0].set_fontweight("bold")
    figure.subplots_adjust(left=0.17, right=0.98, top=0.88, bottom=0.26, wspace=0.1)
    return finish(figure, tables, title)
