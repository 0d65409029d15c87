"""The annotators of a cell: what every stage reads that asks the oracles."""

from torch import nn

from defuse.annotators.oracles import Annotators
from defuse.core.storage import read_table
from defuse.data.prepared import CLASSES
from defuse.models.classifiers import build_classifier
from defuse.models.machine import Machine, to_machine
from defuse.models.saved_networks import load_network
from experiments.shared.cell import Cell
from experiments.shared.trained import image_channels, load_subject


def load_oracles(cell: Cell, machine: Machine) -> tuple[list[nn.Module], list[float]]:
    """The oracles and the confidence below which each says "not recognisable"."""
    table = read_table(cell.dataset_folder("calibrate_oracle") / "oracles.csv", "oracle", "threshold")
    paths = [cell.dataset_folder("train_oracle") / f"oracle_{index}.safetensors" for index in table.oracle]
    expected = {"channels": image_channels(cell), "classes": CLASSES[cell.dataset]}
    oracles = [load_network(path, build_classifier, **expected) for path in paths]
    return [to_machine(oracle, machine) for oracle in oracles], list(table.threshold)


def load_annotators(cell: Cell) -> Annotators:
    """Set up the machine; load the oracles and the networks whose images they label."""
    subject = load_subject(cell)
    return Annotators(subject, *load_oracles(cell, subject.machine), cell.params("annotate").consensus)
