"""Compare VAEs (latent dimension, likelihood, width, feature term): reconstructions, mistakes found, their causes."""

import torch
from tqdm import tqdm

from defuse.annotators.oracles import Annotators
from defuse.core import params
from defuse.core.storage import write_table
from defuse.data.prepared import load_split
from defuse.method.identification import prepare_seeds, reconstructed_accuracy
from defuse.models.autoencoder_training import measure
from defuse.models.subject import Subject
from defuse.studies.searches import search_row
from experiments.shared.annotators import load_oracles
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.trained import features_file, load_features, load_subject
from experiments.shared.vae_training import fit_vae

MEASURED = ("squared_error", "kl", "feature_distance")


def ablate(cell: Cell) -> str:
    """Search with the main chain's autoencoder and with each that is trained here, and write what is found."""
    import pandas as pd

    chosen, of_the_chain = cell.params(), cell.params("train_vae")
    chain = load_subject(cell)
    machine, oracles = chain.machine, load_oracles(cell, chain.machine)
    features = load_features(cell, machine)
    files = {"data": cell.data_file, "features": features_file(cell)}
    images, labels = load_split(cell.data_file, "train")
    validation = load_split(cell.data_file, "validation")
    seed_images = cell.streams.numpy("images").permutation(len(labels))[: chosen.seed_images]
    key, validation_seed = cell.streams.key("noise"), cell.streams.integer("validation")
    own = params.ComparedVAE(**{name: getattr(of_the_chain, name) for name in params.ComparedVAE.model_fields})
    rows = []
    arms = {params.CHAIN_VAE: own, **chosen.arms}
    for name, arm in tqdm(arms.items(), desc=str(cell), disable=None, leave=False):
        vae = chain.vae
        if name != params.CHAIN_VAE:
            settings = of_the_chain.model_copy(update=arm.model_dump())
            vae, _ = fit_vae(cell, images, validation[0], settings, machine, files, features, name)
        noise = torch.Generator().manual_seed(validation_seed)
        measured = measure(vae, validation[0], arm.likelihood, noise, features)
        subject = Subject(chain.classifier, vae, machine)
        seeds = prepare_seeds(subject, images[seed_images], labels[seed_images])
        row = search_row(
            Annotators(subject, *oracles, cell.params("annotate").consensus),
            seeds,
            cell.params("identify"),
            chosen.judged_mistakes,
            key,
            cell.streams.numpy("judged", name),
            name,
        )
        rows.append(
            {
                "vae": name,
                **arm.model_dump(),
                **{column: measured[column] for column in MEASURED},
                "reconstruction_accuracy": reconstructed_accuracy(subject, *validation),
                **row,
            }
        )
    table = pd.DataFrame(rows)
    write_table(cell.folder() / "vaes.csv", table)
    accuracy = table.reconstruction_accuracy
    if accuracy.isna().all():
        return "no validation image is right: there is no reconstruction to compare it with"
    return f"{accuracy.min():.1%} to {accuracy.max():.1%} of reconstructions are right over {len(table)} VAEs"


if __name__ == "__main__":
    cell_command("ablate_vae", ablate, __doc__)
