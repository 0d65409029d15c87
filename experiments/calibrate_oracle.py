"""Calibrate when each annotator's network says "not recognisable", and measure how right the annotators are."""

import numpy as np

from defuse.annotators.oracles import blends, calibrate_threshold, vote
from defuse.core.storage import write_json, write_table
from defuse.data.prepared import CLASSES, load_split
from defuse.method.annotation import ABSTAIN, consensus
from defuse.models.classifiers import build_classifier
from defuse.models.evaluation import predict
from defuse.models.machine import set_up_machine, to_machine
from defuse.models.saved_networks import load_network
from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command


def calibrate(cell: Cell) -> str:
    """Write each oracle's threshold and accuracies."""
    import pandas as pd

    recognised = cell.params().originals_recognised
    machine = set_up_machine(cell.settings.compute)
    data = {split: load_split(cell.data_file, split) for split in ("validation", "test")}
    blended = blends(*data["validation"], cell.streams.torch("blends"))
    expected = {"channels": data["test"][0].shape[1], "classes": CLASSES[cell.dataset]}
    rows, test_votes, blend_votes = [], [], []
    for index, network in enumerate(cell.params("train_oracle").networks):
        path = cell.dataset_folder("train_oracle") / f"oracle_{index}.safetensors"
        oracle = to_machine(load_network(path, build_classifier, **expected), machine)
        logits = {split: predict(oracle, images) for split, (images, _) in data.items()}
        right = {split: logits[split].argmax(1) == labels for split, (_, labels) in data.items()}
        threshold = calibrate_threshold(logits["validation"], recognised)
        test_votes.append(vote(logits["test"], threshold))
        blend_votes.append(vote(predict(oracle, blended), threshold))
        rows.append(
            {
                "oracle": index,
                "architecture": network.architecture,
                "threshold": threshold,
                **{f"{split}_accuracy": float(part.float().mean()) for split, part in right.items()},
                "test_recognised": (test_votes[-1] != ABSTAIN).mean(),
                "blends_rejected": (blend_votes[-1] == ABSTAIN).mean(),
            }
        )
    table, folder = pd.DataFrame(rows), cell.dataset_folder()
    least = cell.params("annotate").consensus
    together = consensus(np.stack(test_votes, axis=1), least)
    kept = together != ABSTAIN
    write_table(folder / "oracles.csv", table)
    write_json(
        folder / "metrics.json",
        {
            "lowest_test_accuracy": table.test_accuracy.min(),
            "mean_test_accuracy": table.test_accuracy.mean(),
            "consensus_test_recognised": kept.mean(),
            "consensus_test_accuracy": (together == data["test"][1].numpy())[kept].mean() if kept.any() else np.nan,
            "blends_without_consensus": (consensus(np.stack(blend_votes, axis=1), least) == ABSTAIN).mean(),
        },
    )
    return (
        f"test accuracy {table.test_accuracy.min():.2%} to {table.test_accuracy.max():.2%}, "
        f"{table.blends_rejected.mean():.0%} of blends declined"
    )


if __name__ == "__main__":
    dataset_command("calibrate_oracle", calibrate, __doc__)
