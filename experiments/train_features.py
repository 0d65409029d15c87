"""Train the network in whose layers the autoencoder's feature term compares images."""

from defuse.core.storage import write_json, write_rows
from defuse.data.prepared import CLASSES, load_split
from defuse.models.checkpoints import Checkpoint, fingerprint
from defuse.models.classifiers import build_classifier
from defuse.models.machine import set_up_machine
from defuse.models.saved_networks import save_network
from defuse.models.training import train_classifier
from experiments.running.code_digest import running_code
from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command


def train(cell: Cell) -> str:
    """Train a vgg on the training images alone; write its weights and its curve."""
    chosen = cell.params()
    machine = set_up_machine(cell.settings.compute)
    computed = machine.resolved(cell.settings.compute)
    data = {split: load_split(cell.data_file, split) for split in ("train", "validation")}
    network = {
        "architecture": "vgg",
        "width": chosen.width,
        "channels": data["train"][0].shape[1],
        "classes": CLASSES[cell.dataset],
    }
    with cell.streams.seeding_torch("weights"):
        classifier = build_classifier(**network)
    checkpoint = Checkpoint(
        cell.checkpoints / "features.safetensors",
        fingerprint(running_code(cell.stage), {"data": cell.data_file}, compute=computed, train_features=chosen),
    )
    curve = train_classifier(
        classifier,
        data["train"],
        data["validation"],
        chosen,
        machine,
        cell.streams.torch("batches"),
        str(cell),
        checkpoint=checkpoint,
    )
    folder, reached = cell.dataset_folder(), curve[-1]["validation_accuracy"]
    save_network(folder / "features.safetensors", classifier, machine, **network)
    write_rows(folder / "curve.csv", curve)
    write_json(folder / "metrics.json", {"validation_accuracy": reached, "machine": machine.description})
    return f"validation accuracy {reached:.2%}"


if __name__ == "__main__":
    dataset_command("train_features", train, __doc__)
