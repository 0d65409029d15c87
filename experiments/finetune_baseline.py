"""The paper's baseline: fine-tune only on the identified images that annotators call classifier mistakes."""

import torch

from defuse.core.storage import write_json, write_table
from defuse.method.correction import (
    accuracies,
    choose_arm,
    classified_right,
    draw_batches,
    finetune_baseline,
    has_diverged,
)
from defuse.models.evaluation import decode
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.region_data import annotated_mistakes, evaluation_data
from experiments.shared.trained import load_subject


def baseline(cell: Cell) -> str:
    """Fine-tune at each learning rate, choose one on validation data, and write all accuracies."""
    import pandas as pd

    chosen = cell.params()
    subject = load_subject(cell)
    vae = subject.vae
    looked_at = annotated_mistakes(cell, vae)
    is_mistake = looked_at["is_mistake"]
    images = decode(vae, torch.from_numpy(looked_at["codes"][is_mistake]))
    labels = torch.from_numpy(looked_at["consensus"][is_mistake])
    data = evaluation_data(cell, vae)
    arms = []
    for rate in chosen.learning_rates if len(labels) else ():
        batches = draw_batches((images, labels), chosen, cell.streams.torch())
        tuned = finetune_baseline(subject.classifier, batches, rate, chosen, subject.machine, f"{cell} rate {rate:g}")
        right = classified_right(tuned, data)
        arms.append({"arm": "baseline", "learning_rate": rate, "diverged": has_diverged(right), **accuracies(right)})
    start = accuracies(classified_right(subject.classifier, data))
    best = choose_arm(arms, start["validation_accuracy"], chosen.maximum_accuracy_drop)
    table = pd.DataFrame(arms, columns=["arm", "learning_rate", "diverged", *start])
    table["chosen"] = table.index == (-1 if best is None else best)
    folder = cell.folder()
    write_table(folder / "baseline.csv", table)
    measures = {"mistakes": len(labels), "labels_asked": len(is_mistake)}
    write_json(folder / "metrics.json", {**measures, "machine": subject.machine.description})
    if best is None:
        return f"{len(labels)} annotated mistakes: no learning rate could be chosen"
    return (
        f"{len(labels)} annotated mistakes, rate {arms[best]['learning_rate']:g}: region test "
        f"{arms[best]['region_test_accuracy']:.1%}, test {arms[best]['test_accuracy']:.2%}"
    )


if __name__ == "__main__":
    cell_command("finetune_baseline", baseline, __doc__)
