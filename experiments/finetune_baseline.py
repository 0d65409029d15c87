"""The paper's baseline: fine-tune only on the identified images that annotators call classifier mistakes."""

import pandas as pd
import torch

from defuse.correction import accuracies, choose_arm, classified_right, draw_batches, finetune_baseline
from defuse.oracles import ABSTAIN
from defuse.params import Settings
from defuse.randomness import torch_generator
from defuse.storage import load_rows, write_json, write_table
from defuse.vae import decode
from experiments.cell import cell_command, cell_folder
from experiments.region_data import evaluation_data
from experiments.trained import load_codes, load_trained


def baseline(settings: Settings, dataset: str, seed: int) -> str:
    chosen, stage = settings.finetune_baseline[dataset], "finetune_baseline"
    machine, classifier, vae = load_trained(settings, dataset, seed)
    mistakes = load_codes(cell_folder("identify", dataset, seed) / "mistakes.npz", vae, "codes", "prediction")
    votes = load_rows(cell_folder("annotate", dataset, seed) / "votes.npz", "drawn", "majority")
    named = votes["majority"]
    is_mistake = (named != ABSTAIN) & (named != mistakes["prediction"][votes["drawn"]])
    images = decode(vae, torch.from_numpy(mistakes["codes"][votes["drawn"]][is_mistake]))
    labels = torch.from_numpy(named[is_mistake])
    data = evaluation_data(dataset, seed, vae)
    arms = []
    for rate in chosen.learning_rates if len(labels) else ():
        batches = draw_batches(len(labels), chosen.batch_size, chosen.steps, torch_generator(seed, stage, dataset))
        tuned = finetune_baseline(classifier, (images, labels), batches, rate, chosen, machine,
                                  f"baseline {dataset} {seed} rate {rate:g}")  # fmt: skip
        arms.append({"arm": "baseline", "learning_rate": rate, **accuracies(classified_right(tuned, data))})
    start = accuracies(classified_right(classifier, data))
    best = choose_arm(arms, start["validation_accuracy"], chosen.maximum_accuracy_drop)
    table = pd.DataFrame(arms, columns=["arm", "learning_rate", *start])
    table["chosen"] = table.index == (-1 if best is None else best)
    folder = cell_folder(stage, dataset, seed)
    write_table(folder / "baseline.csv", table)
    write_json(folder / "metrics.json", {"mistakes": len(labels), "labels_asked": len(named)})
    if best is None:
        return f"{len(labels)} annotated mistakes: no learning rate could be chosen"
    return (f"{len(labels)} annotated mistakes, rate {arms[best]['learning_rate']:g}: region test "
            f"{arms[best]['region_test_accuracy']:.1%}, test {arms[best]['test_accuracy']:.2%}")  # fmt: skip


if __name__ == "__main__":
    cell_command("finetune_baseline", baseline, __doc__)
