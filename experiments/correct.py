"""Fine-tune the classifier on training data plus labelled regions, for each lambda."""

import numpy as np
import torch
from torch import nn

from defuse.core.storage import save_arrays, write_json, write_table
from defuse.data.prepared import load_split
from defuse.method.annotation import ABSTAIN
from defuse.method.correction import (
    accuracies,
    accuracy_by_region,
    choose_arm,
    classified_right,
    correct,
    draw_batches,
    has_diverged,
)
from defuse.models.evaluation import decode, predict
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.region_data import accepted_regions, decoded_regions, evaluation_data
from experiments.shared.trained import load_codes, load_subject


def sweep(cell: Cell) -> str:
    """Fine-tune for each lambda, choose one on validation data, and write all accuracies."""
    import pandas as pd

    chosen = cell.params()
    subject = load_subject(cell)
    vae = subject.vae
    training = load_split(cell.data_file, "train")
    regions = decoded_regions(cell, vae, "correction")
    numbers = accepted_regions(cell)
    data = evaluation_data(cell, vae)
    recipe = cell.params("train_classifier")
    batches = draw_batches(training, chosen, cell.streams.torch("training"), recipe.augmentation)
    region_batches = draw_batches(regions, chosen, cell.streams.torch("regions")) if len(numbers) else None
    codes = load_codes(cell.folder("distill") / "samples.npz", vae, "shown")["shown"]
    shown = decode(vae, torch.from_numpy(codes.reshape(-1, vae.latent_dim)))

    def predictions(network: nn.Module) -> np.ndarray:
        logits = predict(network, shown)
        named = torch.where(logits.isfinite().all(1), logits.argmax(1), ABSTAIN)
        return named.numpy().reshape(codes.shape[:2])

    right = classified_right(subject.classifier, data)
    arms = [{"arm": "before", "lambda": None, "diverged": has_diverged(right), **accuracies(right)}]
    predicted = [predictions(subject.classifier)]
    by_region = [accuracy_by_region(right["region_test"], len(numbers))]
    for lambda_ in chosen.lambdas if len(numbers) else chosen.lambdas[:1]:
        corrected = correct(
            subject.classifier,
            batches,
            region_batches,
            lambda_,
            chosen,
            recipe,
            subject.machine,
            f"{cell} lambda {lambda_:g}",
        )
        right = classified_right(corrected, data)
        arms.append({"arm": "correction", "lambda": lambda_, "diverged": has_diverged(right), **accuracies(right)})
        predicted.append(predictions(corrected))
        by_region.append(accuracy_by_region(right["region_test"], len(numbers)))
    best = choose_arm(arms[1:], arms[0]["validation_accuracy"], chosen.maximum_accuracy_drop)
    after = 0 if best is None else best + 1
    table = pd.DataFrame(arms)
    table["chosen"] = (table.index == after) & (best is not None)
    folder = cell.folder()
    write_table(folder / "sweep.csv", table)
    write_table(
        folder / "regions.csv",
        pd.DataFrame(
            {
                "region": numbers,
                "accuracy_before": by_region[0],
                "accuracy_control": by_region[1],  # the first lambda is 0
                "accuracy_after": by_region[after],
            }
        ),
    )
    save_arrays(folder / "shown.npz", prediction_after=predicted[after])
    chosen_lambda = None if best is None else arms[after]["lambda"]
    write_json(folder / "metrics.json", {"lambda": chosen_lambda, "machine": subject.machine.description})
    if best is None:
        return f"{len(numbers)} accepted regions: no lambda could be chosen"
    return (
        f"lambda {arms[after]['lambda']:g}: region test {arms[0]['region_test_accuracy']:.1%} -> "
        f"{arms[after]['region_test_accuracy']:.1%}, test {arms[0]['test_accuracy']:.2%} -> "
        f"{arms[after]['test_accuracy']:.2%}"
    )


if __name__ == "__main__":
    cell_command("correct", sweep, __doc__)
