"""The trained networks of a cell, on the machine's device: what every stage after training reads."""

from pathlib import Path

import numpy as np
from torch import nn

from defuse.core.errors import StorageError
from defuse.core.storage import load_arrays, load_rows
from defuse.data.prepared import CLASSES
from defuse.models.autoencoder import VAE
from defuse.models.classifiers import build_classifier
from defuse.models.features import FeatureLayers
from defuse.models.machine import Machine, set_up_machine, to_machine
from defuse.models.saved_networks import load_network
from defuse.models.subject import Subject
from experiments.shared.cell import Cell


def image_channels(cell: Cell) -> int:
    """Channels of the prepared images, which every network must take: one with more would broadcast."""
    return load_arrays(cell.data_file, "x_test")["x_test"].shape[-1]


def load_classifier(cell: Cell, machine: Machine) -> nn.Module:
    """The classifier to debug."""
    weights = cell.folder("train_classifier") / "classifier.safetensors"
    expected = {"channels": image_channels(cell), "classes": CLASSES[cell.dataset]}
    return to_machine(load_network(weights, build_classifier, **expected), machine)


def features_file(cell: Cell) -> Path:
    """Weights of the network of the autoencoder's feature term."""
    return cell.dataset_folder("train_features") / "features.safetensors"


def load_features(cell: Cell, machine: Machine) -> nn.Module:
    """The frozen layers in which the autoencoder's feature term compares images."""
    expected = {"architecture": "vgg", "channels": image_channels(cell), "classes": CLASSES[cell.dataset]}
    return to_machine(FeatureLayers(load_network(features_file(cell), build_classifier, **expected)), machine)


def checker_file(cell: Cell) -> Path:
    """Weights of the checker."""
    return cell.dataset_folder("train_checker") / "checker.safetensors"


def load_checker(cell: Cell, machine: Machine) -> nn.Module:
    """The network that looks at the mistakes of a search, and is neither debugged nor an annotator."""
    expected = {"channels": image_channels(cell), "classes": CLASSES[cell.dataset]}
    return to_machine(load_network(checker_file(cell), build_classifier, **expected), machine)


def load_vae(cell: Cell, machine: Machine, stage: str = "train_vae") -> VAE:
    """The VAE that a stage trained for the cell."""
    return to_machine(load_network(cell.folder(stage) / "vae.safetensors", VAE, channels=image_channels(cell)), machine)


def load_subject(cell: Cell) -> Subject:
    """Set up the machine; load the classifier to debug and the VAE."""
    machine = set_up_machine(cell.settings.compute)
    return Subject(load_classifier(cell, machine), load_vae(cell, machine), machine)


def distilled_codes(cell: Cell, vae: VAE) -> dict[str, np.ndarray]:
    """Arrays codes float32 (M, latent_dim) and label int64 (M,) of the mistakes that were divided into regions."""
    mistakes = load_codes(cell.folder("identify") / "mistakes.npz", vae, "codes", "label")
    used = load_arrays(cell.folder("distill") / "regions.npz", "mistake")["mistake"]
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
