"""Compare noise distributions: mistakes found, and whether they are the classifier's."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from defuse.ablation import noise_row
from defuse.data import load_split
from defuse.identification import prepare_seeds
from defuse.params import Settings
from defuse.randomness import numpy_generator, seed_sequence
from defuse.storage import write_table
from experiments.annotators import load_annotators
from experiments.cell import cell_command, cell_folder, data_file


def ablate(settings: Settings, dataset: str, seed: int) -> str:
    chosen, stage = settings.ablate_noise[dataset], "ablate_noise"
    _, annotators = load_annotators(settings, dataset, seed)
    images, labels = load_split(data_file(dataset), "train")
    order = numpy_generator(seed, stage, dataset, "seed images").permutation(len(labels))
    candidates = order[: 2 * chosen.seed_images]
    seeds = prepare_seeds(annotators.vae, annotators.classifier, images[candidates], labels[candidates])
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
