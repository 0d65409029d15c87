"""Train the variational autoencoder on the classifier's training images."""

from defuse.core.storage import write_json, write_rows
from defuse.data.prepared import load_split
from defuse.models.autoencoder import VAE
from defuse.models.autoencoder_training import train_vae
from defuse.models.checkpoints import Checkpoint, fingerprint
from defuse.models.machine import set_up_machine
from defuse.models.saved_networks import save_network
from experiments.running.code_digest import running_code
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.trained import features_file, load_features


def train(cell: Cell) -> str:
    """Train the autoencoder and write its weights and its curve."""
    chosen = cell.params()
    machine = set_up_machine(cell.settings.compute)
    computed = machine.resolved(cell.settings.compute)
    images, _ = load_split(cell.data_file, "train")
    validation, _ = load_split(cell.data_file, "validation")
    features = load_features(cell, machine)
    network = {
        "channels": images.shape[1],
        "latent_dim": chosen.latent_dim,
        "width": chosen.width,
        "batch_norm": chosen.batch_norm,
    }
    with cell.streams.seeding_torch("weights"):
        vae = VAE(**network)
    generator = cell.streams.torch("batches")
    files = {"data": cell.data_file, "features": features_file(cell)}
    checkpoint = Checkpoint(
        cell.checkpoints / "vae.safetensors",
        fingerprint(running_code(cell.stage), files, compute=computed, train_vae=chosen),
    )
    validation_seed = cell.streams.integer("validation")
    curve = train_vae(
        vae, images, validation, chosen, machine, generator, validation_seed, str(cell), checkpoint, features
    )
    divergences = [
        {"epoch": row["epoch"], "dimension": dimension, "kl": kl}
        for row in curve
        for dimension, kl in enumerate(row["kl_per_dimension"])
    ]
    last = curve[-1]
    folder = cell.folder()
    save_network(folder / "vae.safetensors", vae, machine, **network)
    curve = [{name: value for name, value in row.items() if name != "kl_per_dimension"} for row in curve]
    write_rows(folder / "curve.csv", curve)
    write_rows(folder / "kl_per_dimension.csv", divergences)
    write_json(
        folder / "metrics.json",
        {
            "validation_elbo": last["elbo"],
            "validation_kl": last["kl"],
            "validation_reconstruction_loss": last["reconstruction_loss"],
            "validation_squared_error": last["squared_error"],
            "active_dimensions": sum(kl > 0.01 for kl in last["kl_per_dimension"]),
            "machine": machine.description,
        },
    )
    return f"ELBO {last['elbo']:.1f} nats per validation image, KL {last['kl']:.1f}"


if __name__ == "__main__":
    cell_command("train_vae", train, __doc__)
