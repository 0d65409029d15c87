"""Compare noise distributions: mistakes found, and whether they are the classifier's."""

import numpy as np
from tqdm import tqdm

from defuse.core.params import compared_noises
from defuse.core.storage import write_table
from defuse.studies.searches import noise_row
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.seed_images import candidate_seeds


def ablate(cell: Cell) -> str:
    """Perturb the same seed images with each noise and write what the oracles say of the wrong draws."""
    import pandas as pd

    chosen = cell.params()
    annotators = load_annotators(cell)
    generator = cell.streams.numpy("seed images")
    seeds = candidate_seeds(cell, annotators.subject, "train", 2 * chosen.seed_images, generator)
    seeds = seeds.take(np.flatnonzero(seeds.correct)[: chosen.seed_images])
    key = cell.streams.key("noise")
    noises = compared_noises(chosen.noises, cell.params("identify").noise)
    rows = [
        {"noise": name, **noise_row(annotators, seeds, noise, chosen.draws, key)}
        for name, noise in tqdm(noises.items(), desc=str(cell), disable=None, leave=False)
    ]
    table = pd.DataFrame(rows)
    write_table(cell.folder() / "noise.csv", table)
    if len(seeds.label) == 0:
        return "no training image is right both raw and reconstructed: there is nothing to perturb"
    return f"wrong draws from {table.wrong.min():.1%} to {table.wrong.max():.1%} over {len(table)} noises"


if __name__ == "__main__":
    cell_command("ablate_noise", ablate, __doc__)
