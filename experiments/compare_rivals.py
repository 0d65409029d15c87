"""Compare the regions with their rivals at the same labelling budget: same start, same steps, one table."""

import numpy as np
import torch

from defuse.core.storage import write_table
from defuse.data.prepared import load_split
from defuse.method.correction import draw_batches
from defuse.method.distillation import class_regions, kmeans_regions
from defuse.models.evaluation import decode
from defuse.studies.rivals import SINGLE_MISTAKES, Rival, compare_rivals, region_rival, single_mistakes, split_by_seed
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.region_data import annotated_mistakes, decoded_regions, region_count
from experiments.shared.trained import distilled_codes


def compare(cell: Cell) -> str:
    """Fine-tune with the regions and with each rival, and write the accuracies."""
    import pandas as pd

    chosen = cell.params()
    distill, annotate = cell.params("distill"), cell.params("annotate")
    annotators = load_annotators(cell)
    vae, count = annotators.subject.vae, region_count(cell)
    budget = count * distill.shown_samples

    looked_at = annotated_mistakes(cell, vae)
    seeds, half = looked_at["seed_index"], (len(looked_at["seed_index"]) + 1) // 2
    pool, held_out = split_by_seed(seeds, half, cell.streams.numpy("mistakes"))
    within_budget = pool[split_by_seed(seeds[pool], budget, cell.streams.numpy("budget"))[0]]

    def singles(numbers: np.ndarray, validation_share: float) -> Rival:
        images = decode(vae, torch.from_numpy(looked_at["codes"][numbers]))
        facts = (looked_at[name][numbers] for name in ("majority", "is_mistake", "seed_index"))
        return single_mistakes(images, *facts, validation_share, cell.streams.numpy("validation"))

    distilled, random_state = distilled_codes(cell, vae), cell.streams.integer("clusters")
    clusterings = {
        "k-means": kmeans_regions(distilled["codes"], count, chosen.kmeans_starts, random_state),
        "mixture per class": class_regions(distilled["codes"], distilled["label"], count, random_state),
    }
    own = {purpose: decoded_regions(cell, vae, purpose) for purpose in ("correction", "validation", "test")}
    rivals = {
        "regions": Rival(own["correction"], own["validation"], budget),
        **{
            name: region_rival(annotators, regions, distill, annotate, cell.streams.within(name))
            for name, regions in clusterings.items()
        },
        SINGLE_MISTAKES: singles(within_budget, chosen.validation_share),
        "single mistakes, more labels": singles(pool, chosen.validation_share),
    }
    training, validation, test = (load_split(cell.data_file, split) for split in ("train", "validation", "test"))
    data = {
        "validation": validation,
        "test": test,
        "region_test": own["test"],
        "mistake_test": singles(held_out, 0.0).training,
    }
    correction, recipe = cell.params("correct"), cell.params("train_classifier")
    # One stream for both: they draw the same images in the same order.
    batches = {
        arm: draw_batches(training, correction, cell.streams.torch("training"), augmentation)
        for arm, augmentation in (
            ("more training", recipe.augmentation),
            ("more training, augmented", cell.params("train_oracle").augmentation),
        )
    }
    table = pd.DataFrame(
        compare_rivals(
            annotators.subject,
            batches,
            rivals,
            data,
            chosen,
            correction,
            cell.params("finetune_baseline"),
            recipe,
            cell.streams,
        )
    )
    write_table(cell.folder() / "rivals.csv", table)
    return f"{len(table)} arms; {budget} images labelled for the regions, no more for a rival at their budget"


if __name__ == "__main__":
    cell_command("compare_rivals", compare, __doc__)
