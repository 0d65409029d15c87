"""Decode the draws of each region that annotators are shown, and make the page on which people can label them."""

import numpy as np
import torch

from defuse.core.storage import write_text
from defuse.data.class_names import class_name
from defuse.data.pixels import to_bytes
from defuse.data.prepared import CLASSES
from defuse.method.shown import Shown, save_shown
from defuse.models.evaluation import decode
from defuse.models.machine import set_up_machine
from defuse.showing.annotation_page import annotation_page
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.trained import load_codes, load_vae


def show_regions(cell: Cell) -> str:
    """Write what is shown, for networks and people alike, and the page for people."""
    vae = load_vae(cell, set_up_machine(cell.settings.compute))
    codes = load_codes(cell.folder("distill") / "samples.npz", vae, "shown")["shown"]
    images = [to_bytes(decode(vae, torch.from_numpy(draws))) for draws in codes]
    names = tuple(class_name(cell.dataset, label) for label in range(CLASSES[cell.dataset]))
    shown = Shown(np.arange(len(codes)), images, names)
    save_shown(cell.folder() / "shown.npz", shown)
    steps = (
        ("Put it into the folder votes/ of the repository.", ""),
        (f"When everybody has done so, name all files in params.yaml, under vote.{cell.dataset}.files.", ""),
        ("Then run, for this cell:", f"dvc repro annotate@{cell.dataset}-{cell.seed}"),
    )
    page = annotation_page(shown, f"Regions of {cell.dataset}, seed {cell.seed}", steps=steps)
    write_text(cell.folder() / "label.html", page)
    return f"{len(images)} regions to label, run {shown.run}"


if __name__ == "__main__":
    cell_command("show_regions", show_regions, __doc__)
