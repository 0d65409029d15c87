"""Compare noise distributions: mistakes found, and whether they are the classifier's."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from defuse.core.params import Settings
from defuse.core.random_streams import numpy_generator, seed_sequence
from defuse.core.storage import write_table
from defuse.studies.searches import noise_row
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import cell_command, cell_folder
from experiments.shared.seed_images import candidate_seeds


def ablate(settings: Settings, dataset: str, seed: int) -> str:
    chosen, stage = settings.ablate_noise[dataset], "ablate_noise"
    _, annotators = load_annotators(settings, dataset, seed)
    generator = numpy_generator(seed, stage, dataset, "seed images")
    seeds = candidate_seeds(annotators.vae, annotators.classifier, dataset, "train", 2 * chosen.seed_images, generator)
    seeds = seeds.take(np.flatnonzero(seeds.correct)[: chosen.seed_images])
    key = seed_sequence(seed, stage, dataset, "noise").generate_state(2, np.uint64)
    rows = [
        {"noise": name, **noise_row(annotators, seeds, noise, chosen.draws, key)}
        for name, noise in tqdm(chosen.noises.items(), desc=f"noise {dataset} {seed}", disable=None, leave=False)
    ]
    table = pd.DataFrame(rows)
    write_table(cell_folder(stage, dataset, seed) / "noise.csv", table)
    if len(seeds.label) == 0:
        return "no training image is right both raw and reconstructed: there is nothing to perturb"
    return f"wrong draws from {table.wrong.min():.1%} to {table.wrong.max():.1%} over {len(table)} noises"


if __name__ == "__main__":
    cell_command("ablate_noise", ablate, __doc__)
