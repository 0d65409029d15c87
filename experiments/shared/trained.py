"""The trained networks of a cell, on the machine's device: what every stage after training reads."""

from pathlib import Path

import numpy as np
from torch import nn

from defuse.core.errors import StorageError
from defuse.core.params import Settings
from defuse.core.storage import load_arrays, load_rows
from defuse.data.prepared import CLASSES
from defuse.models.autoencoder import VAE
from defuse.models.classifiers import build_classifier
from defuse.models.machine import Machine, set_up_machine, to_machine
from defuse.models.saved_networks import load_network
from experiments.shared.cell import cell_folder, data_file


def image_channels(dataset: str) -> int:
    """Channels of the prepared images, which every network must take: one with more would broadcast."""
    return load_arrays(data_file(dataset), "x_test")["x_test"].shape[-1]


def load_classifier(dataset: str, seed: int, machine: Machine) -> nn.Module:
    """The classifier to debug."""
    weights = cell_folder("train_classifier", dataset, seed) / "classifier.safetensors"
    expected = {"channels": image_channels(dataset), "classes": CLASSES[dataset]}
    return to_machine(load_network(weights, build_classifier, **expected), machine)


def load_trained(settings: Settings, dataset: str, seed: int) -> tuple[Machine, nn.Module, VAE]:
    """Set up the machine; load the classifier to debug and the VAE."""
    machine = set_up_machine(settings.compute)
    classifier = load_classifier(dataset, seed, machine)
    weights = cell_folder("train_vae", dataset, seed) / "vae.safetensors"
    vae = load_network(weights, VAE, channels=image_channels(dataset))
    return machine, classifier, to_machine(vae, machine)


def distilled_codes(dataset: str, seed: int, vae: VAE) -> dict[str, np.ndarray]:
    """codes float32 (M, latent_dim) and label int64 (M,) of the mistakes that distillation divided into regions."""
    mistakes = load_codes(cell_folder("identify", dataset, seed) / "mistakes.npz", vae, "codes", "label")
    used = load_arrays(cell_folder("distill", dataset, seed) / "regions.npz", "mistake")["mistake"]
    return {name: array[used] for name, array in mistakes.items()}


def load_codes(path: Path, vae: VAE, *names: str) -> dict[str, np.ndarray]:
    """Named arrays whose rows belong together; those of two or more dimensions are codes for `vae`.

    Raises:
        StorageError: as `load_rows`, or codes that are not float32 (..., latent_dim).
    """
    arrays = load_rows(path, *names)
    for name, array in arrays.items():
        if array.ndim > 1 and (array.dtype != np.float32 or array.shape[-1] != vae.latent_dim):
            allowed = f"float32 (..., {vae.latent_dim}), the VAE's latent_dim"
            raise StorageError(f"{path}: {name} is {array.dtype} {array.shape}; allowed: {allowed}")
    return arrays
