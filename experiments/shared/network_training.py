"""Training a network of the pipeline's own on the training images: an annotator, the features, the checker."""

from typing import Any

from defuse.core.storage import write_json, write_rows
from defuse.data.prepared import CLASSES, Labelled, load_split
from defuse.models.checkpoints import Checkpoint, fingerprint
from defuse.models.classifiers import build_classifier
from defuse.models.machine import Machine, set_up_machine
from defuse.models.saved_networks import save_network
from defuse.models.training import train_classifier
from experiments.running.code_digest import running_code
from experiments.shared.cell import Cell


def load_training(cell: Cell) -> dict[str, Labelled]:
    """Images and labels of `train` and `validation`: all that these networks see."""
    return {split: load_split(cell.data_file, split) for split in ("train", "validation")}


def train_network(
    cell: Cell,
    data: dict[str, Labelled],
    machine: Machine,
    name: str,
    network: dict[str, Any],
    *purpose: str,
    blend_fraction: float = 0.0,
) -> list[dict[str, Any]]:
    """Train a network as the stage's params say, with a checkpoint, and write its weights.

    Args:
        cell: of a stage per data set.
        data: from `load_training`.
        machine: device and precision.
        name: of its file, without the ending.
        network: the arguments of `build_classifier` that the data set does not give.
        purpose: names that tell its random streams from those of the stage's other networks.
        blend_fraction: share of each batch that is blended.

    Returns:
        The curve of `train_classifier`.
    """
    chosen, file = cell.params(), f"{name}.safetensors"
    built = {**network, "channels": data["train"][0].shape[1], "classes": CLASSES[cell.dataset]}
    trees = {"compute": machine.resolved(cell.settings.compute), cell.stage: chosen}
    belongs_to = fingerprint(running_code(cell.stage), {"data": cell.data_file}, **trees)
    with cell.streams.seeding_torch("weights", *purpose):
        classifier = build_classifier(**built)
    curve = train_classifier(
        classifier,
        data["train"],
        data["validation"],
        chosen,
        machine,
        cell.streams.torch("batches", *purpose),
        " ".join((str(cell), *purpose)),
        blend_fraction=blend_fraction,
        checkpoint=Checkpoint(cell.checkpoints / file, belongs_to),
    )
    save_network(cell.dataset_folder() / file, classifier, machine, **built)
    return curve


def train_single_network(cell: Cell, name: str, network: dict[str, Any], blend_fraction: float = 0.0) -> str:
    """Train the one network of a stage; write its weights, its curve and its accuracy. Arguments as above."""
    machine = set_up_machine(cell.settings.compute)
    curve = train_network(cell, load_training(cell), machine, name, network, blend_fraction=blend_fraction)
    folder, reached = cell.dataset_folder(), curve[-1]["validation_accuracy"]
    write_rows(folder / "curve.csv", curve)
    write_json(folder / "metrics.json", {"validation_accuracy": reached, "machine": machine.description})
    return f"validation accuracy {reached:.2%}"
