"""Compare whole searches (seed source, noise, draws): what they find, and the causes of equally many mistakes."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from defuse.core.params import Settings
from defuse.core.random_streams import numpy_generator, seed_sequence
from defuse.core.storage import write_table
from defuse.models.search_network import search_network
from defuse.studies.searches import search_row
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import cell_command, cell_folder
from experiments.shared.seed_images import candidate_seeds


def ablate(settings: Settings, dataset: str, seed: int) -> str:
    chosen, stage = settings.ablate_search[dataset], "ablate_search"
    machine, annotators = load_annotators(settings, dataset, seed)
    network = search_network(annotators.vae, annotators.classifier, machine)
    candidates = {
        split: candidate_seeds(
            annotators.vae,
            annotators.classifier,
            dataset,
            split,
            2 * chosen.seed_images,
            numpy_generator(seed, stage, dataset, "seed images", split),
        )
        for split in ("train", "test")
    }
    key = seed_sequence(seed, stage, dataset, "noise").generate_state(2, np.uint64)
    rows = []
    for name, search in tqdm(chosen.searches.items(), desc=f"search {dataset} {seed}", disable=None, leave=False):
        seeds = candidates["test" if search.seed_source == "test" else "train"]
        if search.seed_source == "train_correct":
            seeds = seeds.take(seeds.correct)
        seeds = seeds.take(slice(chosen.seed_images))
        generator = numpy_generator(seed, stage, dataset, "judged", name)
        row = search_row(annotators, network, seeds, search, chosen.judged_mistakes, key, generator, name)
        rows.append({"search": name, **row})
    table = pd.DataFrame(rows)
    write_table(cell_folder(stage, dataset, seed) / "searches.csv", table)
    own = table.classifier_mistake
    if own.isna().all():
        return f"none of {len(table)} searches finds a mistake"
    return f"the classifier's own mistakes are {own.min():.1%} to {own.max():.1%} of what {len(table)} searches find"


if __name__ == "__main__":
    cell_command("ablate_search", ablate, __doc__)
