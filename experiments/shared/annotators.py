"""The annotators of a cell: what every stage reads that asks the oracles."""

from torch import nn

from defuse.annotators.oracles import Annotators
from defuse.core.params import Settings
from defuse.core.storage import read_table
from defuse.data.prepared import CLASSES
from defuse.models.classifiers import build_classifier
from defuse.models.machine import Machine, to_machine
from defuse.models.saved_networks import load_network
from experiments.shared.cell import ARTIFACTS
from experiments.shared.trained import image_channels, load_trained


def load_oracles(dataset: str, machine: Machine) -> tuple[list[nn.Module], list[float]]:
    """The oracles and the confidence below which each says "not recognisable"."""
    table = read_table(ARTIFACTS / "calibrate_oracle" / dataset / "oracles.csv", "oracle", "threshold")
    paths = [ARTIFACTS / "train_oracle" / dataset / f"oracle_{index}.safetensors" for index in table.oracle]
    expected = {"channels": image_channels(dataset), "classes": CLASSES[dataset]}
    oracles = [load_network(path, build_classifier, **expected) for path in paths]
    return [to_machine(oracle, machine) for oracle in oracles], list(table.threshold)


def load_annotators(settings: Settings, dataset: str, seed: int) -> tuple[Machine, Annotators]:
    """Set up the machine; load the oracles and what they look at."""
    machine, classifier, vae = load_trained(settings, dataset, seed)
    return machine, Annotators(vae, classifier, *load_oracles(dataset, machine))
