"""The figure of the novelty of regions: their failing draws beside the nearest known mistakes."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from defuse.core.storage import load_arrays
from defuse.evidence.results import result_path
from defuse.showing.drawing import empty, finish, show_image


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
