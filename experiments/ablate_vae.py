"""Compare VAEs (latent dimension, likelihood, width): right reconstructions, mistakes found, and their causes."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from defuse.annotators.oracles import Annotators
from defuse.core.params import Settings
from defuse.core.random_streams import numpy_generator, seed_sequence, seeded_torch, torch_generator
from defuse.core.storage import write_table
from defuse.data.prepared import load_split
from defuse.method.identification import prepare_seeds, reconstructed_accuracy
from defuse.models.autoencoder import VAE
from defuse.models.autoencoder_training import train_vae
from defuse.models.machine import set_up_machine
from defuse.models.search_network import search_network
from defuse.studies.searches import search_row
from experiments.shared.annotators import load_oracles
from experiments.shared.cell import cell_command, cell_folder, data_file
from experiments.shared.trained import load_classifier


def ablate(settings: Settings, dataset: str, seed: int) -> str:
    chosen, stage = settings.ablate_vae[dataset], "ablate_vae"
    machine = set_up_machine(settings.compute)
    classifier, oracles = load_classifier(dataset, seed, machine), load_oracles(dataset, machine)
    images, labels = load_split(data_file(dataset), "train")
    validation = load_split(data_file(dataset), "validation")
    order = numpy_generator(seed, stage, dataset, "images").permutation(len(labels))
    training, seed_images = images[order[: chosen.training_images]], order[: chosen.seed_images]
    key = seed_sequence(seed, stage, dataset, "noise").generate_state(2, np.uint64)
    rows = []
    for name, arm in tqdm(chosen.arms.items(), desc=f"VAEs {dataset} {seed}", disable=None, leave=False):
        changes = {**arm.model_dump(), "epochs": chosen.epochs}
        vae_settings = settings.train_vae[dataset].model_copy(update=changes)
        network = {
            "channels": images.shape[1],
            "latent_dim": arm.latent_dim,
            "width": arm.width,
            "batch_norm": vae_settings.batch_norm,
        }
        with seeded_torch(seed, stage, dataset, "weights", name):
            vae = VAE(**network)
        curve = train_vae(
            vae,
            training,
            validation[0],
            vae_settings,
            machine,
            torch_generator(seed, stage, dataset, "batches", name),
            name,
            None,
        )
        seeds = prepare_seeds(vae, classifier, images[seed_images], labels[seed_images])
        generator = numpy_generator(seed, stage, dataset, "judged", name)
        row = search_row(
            Annotators(vae, classifier, *oracles),
            search_network(vae, classifier, machine),
            seeds,
            settings.identify[dataset],
            chosen.judged_mistakes,
            key,
            generator,
            name,
        )
        rows.append(
            {
                "vae": name,
                **arm.model_dump(),
                "squared_error": curve[-1]["squared_error"],
                "kl": curve[-1]["kl"],
                "reconstruction_accuracy": reconstructed_accuracy(classifier, vae, *validation),
                **row,
            }
        )
    table = pd.DataFrame(rows)
    write_table(cell_folder(stage, dataset, seed) / "vaes.csv", table)
    accuracy = table.reconstruction_accuracy
    if accuracy.isna().all():
        return "no validation image is right: there is no reconstruction to compare it with"
    return f"{accuracy.min():.1%} to {accuracy.max():.1%} of reconstructions are right over {len(table)} VAEs"


if __name__ == "__main__":
    cell_command("ablate_vae", ablate, __doc__)
