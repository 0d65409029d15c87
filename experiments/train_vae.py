"""Train the variational autoencoder on the classifier's training images."""

import pandas as pd

from defuse.core.params import Settings
from defuse.core.random_streams import seeded_torch, torch_generator
from defuse.core.storage import write_json, write_table
from defuse.data.prepared import load_split
from defuse.models.autoencoder import VAE
from defuse.models.autoencoder_training import train_vae
from defuse.models.checkpoints import Checkpoint, fingerprint
from defuse.models.machine import set_up_machine
from defuse.models.saved_networks import save_network
from experiments.shared.cell import cell_command, cell_folder, checkpoint_folder, data_file


def train(settings: Settings, dataset: str, seed: int) -> str:
    chosen, stage = settings.train_vae[dataset], "train_vae"
    machine = set_up_machine(settings.compute)
    images, _ = load_split(data_file(dataset), "train")
    validation, _ = load_split(data_file(dataset), "validation")
    network = {
        "channels": images.shape[1],
        "latent_dim": chosen.latent_dim,
        "width": chosen.width,
        "batch_norm": chosen.batch_norm,
    }
    with seeded_torch(seed, stage, dataset, "weights"):
        vae = VAE(**network)
    generator = torch_generator(seed, stage, dataset, "batches")
    checkpoint = Checkpoint(
        checkpoint_folder(stage, dataset, seed) / "vae.safetensors",
        fingerprint(data_file(dataset), compute=settings.compute, train_vae=chosen),
    )
    curve = train_vae(vae, images, validation, chosen, machine, generator, f"VAE {dataset} {seed}", checkpoint)
    divergences = pd.DataFrame(
        [
            {"epoch": row["epoch"], "dimension": dimension, "kl": kl}
            for row in curve
            for dimension, kl in enumerate(row["kl_per_dimension"])
        ]
    )
    last = curve[-1]
    folder = cell_folder(stage, dataset, seed)
    save_network(folder / "vae.safetensors", vae, **network)
    write_table(folder / "curve.csv", pd.DataFrame(curve).drop(columns="kl_per_dimension"))
    write_table(folder / "kl_per_dimension.csv", divergences)
    write_json(
        folder / "metrics.json",
        {
            "validation_elbo": last["elbo"],
            "validation_kl": last["kl"],
            "validation_reconstruction_loss": last["reconstruction_loss"],
            "validation_squared_error": last["squared_error"],
            "active_dimensions": int((divergences[divergences.epoch == last["epoch"]].kl > 0.01).sum()),
        },
    )
    return f"ELBO {last['elbo']:.1f} nats per validation image, KL {last['kl']:.1f}"


if __name__ == "__main__":
    cell_command("train_vae", train, __doc__)
