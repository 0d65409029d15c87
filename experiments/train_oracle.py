"""Train the annotators' networks and calibrate when they say "not recognisable"."""

import numpy as np
import pandas as pd

from defuse.checkpoints import Checkpoint, fingerprint
from defuse.data import CLASSES, load_split
from defuse.networks import build_classifier, save_network
from defuse.oracles import ABSTAIN, blends, calibrate_threshold, majority, vote
from defuse.params import Settings
from defuse.randomness import seeded_torch, torch_generator
from defuse.storage import write_json, write_table
from defuse.training import predict, set_up_machine, train_classifier
from experiments.cell import ARTIFACTS, checkpoint_folder, data_file, dataset_command


def train(settings: Settings, dataset: str) -> str:
    chosen, stage = settings.train_oracle[dataset], "train_oracle"
    machine = set_up_machine(settings.compute)
    data = {split: load_split(data_file(dataset), split) for split in ("train", "validation", "test")}
    blended = blends(*data["validation"], torch_generator(0, stage, dataset, "blends"))
    belongs_to = fingerprint(data_file(dataset), compute=settings.compute, train_oracle=chosen)
    folder = ARTIFACTS / stage / dataset
    rows, test_votes, blend_votes = [], [], []
    for index, network in enumerate(chosen.networks):
        built = {**network.model_dump(), "channels": data["train"][0].shape[1], "classes": CLASSES[dataset]}
        with seeded_torch(0, stage, dataset, "weights", str(index)):
            oracle = build_classifier(**built)
        train_classifier(
            oracle, *data["train"], data["validation"], chosen, machine,
            torch_generator(0, stage, dataset, "batches", str(index)), f"oracle {index} {dataset}",
            blend_fraction=chosen.blend_fraction,
            checkpoint=Checkpoint(checkpoint_folder(stage, dataset) / f"oracle_{index}.safetensors", belongs_to),
        )  # fmt: skip
        save_network(folder / f"oracle_{index}.safetensors", oracle, **built)
        logits = {split: predict(oracle, data[split][0]) for split in ("validation", "test")}
        right = {split: logits[split].argmax(1) == data[split][1] for split in logits}
        threshold = calibrate_threshold(logits["validation"], chosen.originals_recognised)
        test_votes.append(vote(logits["test"], threshold))
        blend_votes.append(vote(predict(oracle, blended), threshold))
        rows.append({
            "oracle": index, "architecture": network.architecture, "threshold": threshold,
            **{f"{split}_accuracy": float(part.float().mean()) for split, part in right.items()},
            "test_recognised": (test_votes[-1] != ABSTAIN).mean(),
            "blends_rejected": (blend_votes[-1] == ABSTAIN).mean(),
        })  # fmt: skip
    table = pd.DataFrame(rows)
    together = majority(np.stack(test_votes, axis=1))
    kept = together != ABSTAIN
    write_table(folder / "oracles.csv", table)
    write_json(folder / "metrics.json", {
        "lowest_test_accuracy": table.test_accuracy.min(), "mean_test_accuracy": table.test_accuracy.mean(),
        "majority_test_recognised": kept.mean(),
        "majority_test_accuracy": (together == data["test"][1].numpy())[kept].mean() if kept.any() else np.nan,
        "blends_rejected_by_majority": (majority(np.stack(blend_votes, axis=1)) == ABSTAIN).mean(),
    })  # fmt: skip
    return f"test accuracy {table.test_accuracy.min():.2%} to {table.test_accuracy.max():.2%}"


if __name__ == "__main__":
    dataset_command("train_oracle", train, __doc__)
