"""Train the classifier to debug."""

from defuse.core.storage import write_json, write_rows
from defuse.data.prepared import CLASSES, load_split
from defuse.models.checkpoints import Checkpoint, fingerprint
from defuse.models.classifiers import build_classifier, load_imagenet_weights
from defuse.models.evaluation import accuracy
from defuse.models.machine import set_up_machine
from defuse.models.saved_networks import save_network
from defuse.models.training import train_classifier
from experiments.running.code_digest import running_code
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command


def train(cell: Cell) -> str:
    """Train the classifier and write its weights and its curve."""
    chosen = cell.params()
    machine = set_up_machine(cell.settings.compute)
    computed = machine.resolved(cell.settings.compute)
    data = {split: load_split(cell.data_file, split) for split in ("train", "validation", "test")}
    network = {**chosen.network.model_dump(), "channels": data["train"][0].shape[1], "classes": CLASSES[cell.dataset]}
    with cell.streams.seeding_torch("weights"):
        classifier = build_classifier(**network)
    if chosen.initial_weights == "imagenet":
        load_imagenet_weights(classifier)
    checkpoint = Checkpoint(
        cell.checkpoints / "classifier.safetensors",
        fingerprint(running_code(cell.stage), {"data": cell.data_file}, compute=computed, train_classifier=chosen),
    )
    curve = train_classifier(
        classifier,
        data["train"],
        data["validation"],
        chosen,
        machine,
        cell.streams.torch("batches"),
        str(cell),
        chosen.label_smoothing,
        checkpoint=checkpoint,
    )
    measures = {f"{split}_accuracy": accuracy(classifier, *part) for split, part in data.items()}
    folder = cell.folder()
    save_network(folder / "classifier.safetensors", classifier, machine, **network)
    write_rows(folder / "curve.csv", curve)
    write_json(folder / "metrics.json", {**measures, "machine": machine.description})
    return f"accuracy {measures['test_accuracy']:.2%} on test, {measures['train_accuracy']:.2%} on training"


if __name__ == "__main__":
    cell_command("train_classifier", train, __doc__)
