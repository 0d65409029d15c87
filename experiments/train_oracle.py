"""Train the annotators' networks."""

from defuse.core.params import Settings
from defuse.core.random_streams import seeded_torch, torch_generator
from defuse.data.prepared import CLASSES, load_split
from defuse.models.checkpoints import Checkpoint, fingerprint
from defuse.models.classifiers import build_classifier
from defuse.models.machine import set_up_machine
from defuse.models.saved_networks import save_network
from defuse.models.training import train_classifier
from experiments.shared.cell import ARTIFACTS, checkpoint_folder, data_file, dataset_command


def train(settings: Settings, dataset: str) -> str:
    chosen, stage = settings.train_oracle[dataset], "train_oracle"
    machine = set_up_machine(settings.compute)
    data = {split: load_split(data_file(dataset), split) for split in ("train", "validation")}
    belongs_to = fingerprint(data_file(dataset), compute=settings.compute, train_oracle=chosen)
    reached = []
    for index, network in enumerate(chosen.networks):
        built = {**network.model_dump(), "channels": data["train"][0].shape[1], "classes": CLASSES[dataset]}
        with seeded_torch(0, stage, dataset, "weights", str(index)):
            oracle = build_classifier(**built)
        curve = train_classifier(
            oracle,
            *data["train"],
            data["validation"],
            chosen,
            machine,
            torch_generator(0, stage, dataset, "batches", str(index)),
            f"oracle {index} {dataset}",
            blend_fraction=chosen.blend_fraction,
            checkpoint=Checkpoint(checkpoint_folder(stage, dataset) / f"oracle_{index}.safetensors", belongs_to),
        )
        save_network(ARTIFACTS / stage / dataset / f"oracle_{index}.safetensors", oracle, **built)
        reached.append(curve[-1]["validation_accuracy"])
    return f"validation accuracy {min(reached):.2%} to {max(reached):.2%}"


if __name__ == "__main__":
    dataset_command("train_oracle", train, __doc__)
