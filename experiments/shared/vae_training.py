"""Training an autoencoder on a cell's training images: the main chain's, and those that are compared with it."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from defuse.core import params
from defuse.core.storage import write_json, write_rows
from defuse.data.prepared import load_split
from defuse.models.autoencoder import VAE
from defuse.models.autoencoder_training import train_vae
from defuse.models.checkpoints import Checkpoint, fingerprint
from defuse.models.machine import Machine
from defuse.models.saved_networks import save_network
from experiments.running.code_digest import running_code
from experiments.shared.cell import Cell


def vae_arguments(settings: params.TrainVAE, images: Tensor) -> dict[str, Any]:
    """The arguments of `VAE` for these images."""
    return {
        "channels": images.shape[1],
        "latent_dim": settings.latent_dim,
        "width": settings.width,
        "batch_norm": settings.batch_norm,
    }


def fit_vae(
    cell: Cell,
    images: Tensor,
    validation: Tensor,
    settings: params.TrainVAE,
    machine: Machine,
    files: dict[str, Path],
    features: nn.Module | None,
    *purpose: str,
) -> tuple[VAE, list[dict[str, Any]]]:
    """Train an autoencoder with a checkpoint.

    Args:
        cell: of a stage per data set and seed.
        images: float32 (N, C, 32, 32) in [0, 1].
        validation: images (V, C, 32, 32) whose ELBO is recorded after each epoch.
        settings: of the network and its training.
        machine: device and precision.
        files: by name, what the stage reads beside its params.
        features: `FeatureLayers` on the machine; None without a feature term.
        purpose: names that tell its random streams and its checkpoint from those of the stage's other autoencoders.

    Returns:
        The autoencoder, and the curve of `train_vae`.
    """
    trees = {"compute": machine.resolved(cell.settings.compute), cell.stage: settings}
    belongs_to = fingerprint(running_code(cell.stage), files, **trees)
    with cell.streams.seeding_torch("weights", *purpose):
        vae = VAE(**vae_arguments(settings, images))
    curve = train_vae(
        vae,
        images,
        validation,
        settings,
        machine,
        cell.streams.torch("batches", *purpose),
        cell.streams.integer("validation"),
        " ".join((str(cell), *purpose)),
        Checkpoint(cell.checkpoints / f"{'_'.join(('vae', *purpose))}.safetensors", belongs_to),
        features,
    )
    return vae, curve


def train_single_vae(cell: Cell, machine: Machine, files: dict[str, Path], features: nn.Module | None) -> str:
    """Train the one autoencoder of a stage; write its weights, its curve and its measures. Arguments as above."""
    images, validation = (load_split(cell.data_file, split)[0] for split in ("train", "validation"))
    settings = cell.params()
    files = {"data": cell.data_file, **files}
    vae, curve = fit_vae(cell, images, validation, settings, machine, files, features)
    divergences = [
        {"epoch": row["epoch"], "dimension": dimension, "kl": kl}
        for row in curve
        for dimension, kl in enumerate(row["kl_per_dimension"])
    ]
    last, folder = curve[-1], cell.folder()
    save_network(folder / "vae.safetensors", vae, machine, **vae_arguments(settings, images))
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
