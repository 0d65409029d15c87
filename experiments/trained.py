"""The trained networks of a cell, on the machine's device: what every stage after training reads."""

from torch import nn

from defuse.networks import VAE, build_classifier, load_network
from defuse.params import Settings
from defuse.storage import read_table
from defuse.training import Machine, set_up_machine, to_machine
from experiments.cell import ARTIFACTS, cell_folder


def load_trained(settings: Settings, dataset: str, seed: int) -> tuple[Machine, nn.Module, VAE]:
    """Set up the machine; load the classifier to debug and the VAE."""
    machine = set_up_machine(settings.compute)
    weights = cell_folder("train_classifier", dataset, seed) / "classifier.safetensors"
    classifier = load_network(weights, build_classifier)
    vae = load_network(cell_folder("train_vae", dataset, seed) / "vae.safetensors", VAE)
    return machine, to_machine(classifier, machine), to_machine(vae, machine)


def load_oracles(dataset: str, machine: Machine) -> tuple[list[nn.Module], list[float]]:
    """The oracles and the confidence below which each says "not recognisable"."""
    folder = ARTIFACTS / "train_oracle" / dataset
    table = read_table(folder / "oracles.csv")
    paths = [folder / f"oracle_{index}.safetensors" for index in table.oracle]
    return [to_machine(load_network(path, build_classifier), machine) for path in paths], list(table.threshold)
