"""What all figures share: one theme, colours with one meaning each, provenance, files whose bytes repeat.

A figure is drawn by a function that takes a data set's folder of tables, in a module for each subject:
`search_figures`, `region_figures`, `correction_figures`, `novelty_figures`, `study_figures`, `planting_figures`,
`reading_figures`, `pair_figures`.
"""

import io
import textwrap
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from jaxtyping import UInt8
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from defuse.core.errors import MissingFileError
from defuse.core.statistics import median_interval
from defuse.core.storage import atomic_path
from defuse.evidence.results import provenance

# Okabe and Ito's colours and, for measures with no colour of their own, three of Tol's muted ones: colour-blind safe.
TEST, REGIONS, BASELINE = "#0072B2", "#E69F00", "#009E73"
MISTAKES = "#D55E00"
FIRST_MEASURE, SECOND_MEASURE, THIRD_MEASURE = "#332288", "#882255", "#44AA99"
CAUSE_COLOURS = {
    "classifier mistake": MISTAKES,
    "label changed": "#56B4E9",
    "third label": "#CC79A7",
    "wrong before the search": "#F0E442",
    "reconstruction": "#999999",
    "not recognisable": "#DDDDDD",
}


VERDICT_COLOURS = {
    "accepted": MISTAKES,
    "false alarm": "#56B4E9",
    "no agreement": "#999999",
    "not recognisable": "#DDDDDD",
}


def set_theme() -> None:
    """The one theme of all figures: whatever the user's `matplotlibrc` says, and in the font that matplotlib brings."""
    matplotlib.rcdefaults()
    # By its name, since seaborn's first choice is Arial, which some machines have.
    seaborn.set_theme(context="paper", style="ticks", font="DejaVu Sans")
    matplotlib.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "pdf.fonttype": 42,
        }
    )


def finish(figure: Figure, tables: Path, title: str) -> Figure:
    """Add the title and the small line that says what the data are."""
    about = provenance(tables)
    # As near to the upper edge in a tall figure as in a low one.
    figure.suptitle(f"{about['title']}: {title}", y=max(0.98, 1 - 0.15 / figure.get_figheight()))
    width = max(60, int(figure.get_figwidth() * 17))
    line = "\n".join(textwrap.wrap(str(about["line"]), width))
    figure.text(0.01, 0.004, line, fontsize=6, color="#555555", va="bottom")
    return figure


def save(figure: Figure, figure_file: str) -> bytes:
    """Write `figure_file` (a `.png`, for screens) and the `.pdf` beside it (for print); close the figure.

    The bytes depend only on the drawing. The PNG has at most 256 colours, which divides its size by three.

    Args:
        figure: closed afterwards.
        figure_file: nothing is written if empty.

    Returns:
        The PNG.
    """
    rendered, png = io.BytesIO(), io.BytesIO()
    figure.savefig(rendered, format="png")
    Image.open(rendered).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(png, "png", optimize=True)
    if figure_file:
        with atomic_path(Path(figure_file)) as temporary:
            temporary.write_bytes(png.getvalue())
        with atomic_path(Path(figure_file).with_suffix(".pdf")) as temporary:
            figure.savefig(temporary, metadata={"Creator": None, "Producer": None, "CreationDate": None})
    pyplot.close(figure)
    return png.getvalue()


def show_image(axes: Axes, image: UInt8[np.ndarray, "height width channels"]) -> None:
    """Draw an image without axes."""
    axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    seaborn.despine(ax=axes, left=True, bottom=True)


def show_prediction(axes: Axes, prediction: int, right: bool = True) -> None:
    """Write the classifier's prediction (-1: none) into the corner of an image; on another ground where it is wrong."""
    axes.text(
        0.97,
        0.03,
        "–" if prediction < 0 else str(prediction),
        transform=axes.transAxes,
        ha="right",
        fontsize=7,
        color="white",
        bbox={"facecolor": "black" if right else MISTAKES, "pad": 0.8, "linewidth": 0},
    )


def drawn(draw: Callable[[Path], Figure], tables: Path) -> Figure:
    """The figure that `draw` makes of the tables, or one that says which of them is missing."""
    try:
        return draw(tables)
    except MissingFileError as error:
        message = textwrap.fill(f"{error}; the stage summarize makes it", 60)
        return empty(tables, draw.__name__.replace("_", " "), message)


def stack_causes(axes: Axes, table: pd.DataFrame, key: str, parts: dict[str, pd.Series]) -> None:
    """Horizontal bars, for each value of `key` in the table one for each seed, each part in its cause's colour.

    Args:
        axes: gets the values of `key`, from above, as its ticks.
        table: a row for each seed and value of `key`.
        key: a column of names.
        parts: by cause, the length of its part in each row of the table.
    """
    names, seeds = list(dict.fromkeys(table[key])), sorted(table.seed.unique())
    height = 0.8 / len(seeds)
    offset = (table.seed.map(seeds.index) - (len(seeds) - 1) / 2) * height
    position, start = table[key].map(names.index) + offset, np.zeros(len(table))
    for cause, part in parts.items():
        part = part.fillna(0).to_numpy(float)
        axes.barh(position, part, 0.9 * height, left=start, color=CAUSE_COLOURS[cause], linewidth=0, label=cause)
        start += part
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)


def draw_values(axes: Axes, table: pd.DataFrame, key: str, column: str, colour: str, label: str = "") -> None:
    """One row per value of `key`: a dot for each seed, a mark at their median, a line along its interval."""
    names = list(dict.fromkeys(table[key]))
    for position, name in enumerate(names):
        values = table[table[key] == name][column].dropna().to_numpy(float)  # may be infinite, and then has no dot
        median, low, high = median_interval(values)
        rows = np.full(len(values), position)
        axes.plot(values, rows, "o", color=colour, markersize=4, alpha=0.8, label="" if position else label)
        axes.plot([median] * 2, [position - 0.3, position + 0.3], color=colour, linewidth=1.5)
        axes.plot([low, high], [position] * 2, color=colour, linewidth=1)
    axes.set_ylim(len(names) - 0.5, -0.5)


def draw_over_seeds(axes: Axes, table: pd.DataFrame, key: str, column: str, colour: str, name: str) -> None:
    """Medians of `column` against `key`, a dot for each seed, and a band of the median's interval where it has one."""
    values = {where: median_interval(part.to_numpy(float)) for where, part in table.groupby(key)[column]}
    median, low, high = np.array(list(values.values())).T
    axes.plot(list(values), median, color=colour, linewidth=1.5, label=name)
    axes.plot(table[key], table[column], "o", color=colour, markersize=3, alpha=0.6, linestyle="none")
    axes.fill_between(list(values), low, high, color=colour, alpha=0.2, linewidth=0)


def empty(tables: Path, title: str, message: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = pyplot.figure(figsize=(6, 2))
    figure.text(0.5, 0.45, message, ha="center", va="center")
    return finish(figure, tables, title)
