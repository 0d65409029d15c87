"""Compare VAEs (latent dimension, likelihood, width, feature term): reconstructions, mistakes found, their causes."""

from tqdm import tqdm

from defuse.annotators.oracles import Annotators
from defuse.core.storage import write_table
from defuse.data.prepared import load_split
from defuse.method.identification import prepare_seeds, reconstructed_accuracy
from defuse.models.autoencoder import VAE
from defuse.models.autoencoder_training import train_vae
from defuse.models.machine import set_up_machine
from defuse.models.subject import Subject
from defuse.studies.searches import search_row
from experiments.shared.annotators import load_oracles
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.trained import load_classifier, load_features


def ablate(cell: Cell) -> str:
    """Train each autoencoder, search with it, and write what it finds."""
    import pandas as pd

    chosen = cell.params()
    machine = set_up_machine(cell.settings.compute)
    classifier, oracles = load_classifier(cell, machine), load_oracles(cell, machine)
    features = load_features(cell, machine)
    images, labels = load_split(cell.data_file, "train")
    validation = load_split(cell.data_file, "validation")
    order = cell.streams.numpy("images").permutation(len(labels))
    training, seed_images = images[order[: chosen.training_images]], order[: chosen.seed_images]
    key = cell.streams.key("noise")
    rows = []
    for name, arm in tqdm(chosen.arms.items(), desc=str(cell), disable=None, leave=False):
        changes = {**arm.model_dump(), "epochs": chosen.epochs}
        vae_settings = cell.params("train_vae").model_copy(update=changes)
        network = {
            "channels": images.shape[1],
            "latent_dim": arm.latent_dim,
            "width": arm.width,
            "batch_norm": vae_settings.batch_norm,
        }
        with cell.streams.seeding_torch("weights", name):
            vae = VAE(**network)
        curve = train_vae(
            vae,
            training,
            validation[0],
            vae_settings,
            machine,
            cell.streams.torch("batches", name),
            cell.streams.integer("validation"),
            name,
            features=features,
        )
        subject = Subject(classifier, vae, machine)
        seeds = prepare_seeds(subject, images[seed_images], labels[seed_images])
        generator = cell.streams.numpy("judged", name)
        row = search_row(
            Annotators(subject, *oracles),
            seeds,
            cell.params("identify"),
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
                "feature_distance": curve[-1]["feature_distance"],
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
