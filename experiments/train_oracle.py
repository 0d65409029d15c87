"""Train the annotators' networks."""

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
    """Train each oracle and write its weights."""
    chosen = cell.params()
    machine = set_up_machine(cell.settings.compute)
    computed = machine.resolved(cell.settings.compute)
    data = {split: load_split(cell.data_file, split) for split in ("train", "validation")}
    files = {"data": cell.data_file}
    belongs_to = fingerprint(running_code(cell.stage), files, compute=computed, train_oracle=chosen)
    reached = []
    for index, network in enumerate(chosen.networks):
        built = {**network.model_dump(), "channels": data["train"][0].shape[1], "classes": CLASSES[cell.dataset]}
        with cell.streams.seeding_torch("weights", str(index)):
            oracle = build_classifier(**built)
        curve = train_classifier(
            oracle,
            data["train"],
            data["validation"],
            chosen,
            machine,
            cell.streams.torch("batches", str(index)),
            f"{cell} {index}",
            blend_fraction=chosen.blend_fraction,
            checkpoint=Checkpoint(cell.checkpoints / f"oracle_{index}.safetensors", belongs_to),
        )
        save_network(cell.dataset_folder() / f"oracle_{index}.safetensors", oracle, machine, **built)
        reached.append(curve[-1]["validation_accuracy"])
    return f"validation accuracy {min(reached):.2%} to {max(reached):.2%}"


if __name__ == "__main__":
    dataset_command("train_oracle", train, __doc__)
