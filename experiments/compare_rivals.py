"""Compare the regions with their rivals at the same labelling budget: same start, same steps, one table."""

import numpy as np
import pandas as pd
import torch

from defuse.core.params import Settings
from defuse.core.random_streams import integer_seed, numpy_generator, torch_generator
from defuse.core.storage import write_table
from defuse.data.prepared import load_split
from defuse.method.distillation import class_regions, kmeans_regions
from defuse.models.augmentation import augment
from defuse.models.evaluation import decode
from defuse.studies.rivals import Rival, compare_rivals, region_rival, single_mistakes
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import cell_command, cell_folder, data_file
from experiments.shared.region_data import annotated_mistakes, decoded_regions, region_count
from experiments.shared.trained import distilled_codes


def compare(settings: Settings, dataset: str, seed: int) -> str:
    chosen, stage = settings.compare_rivals[dataset], "compare_rivals"
    distill, annotate = settings.distill[dataset], settings.annotate[dataset]
    machine, annotators = load_annotators(settings, dataset, seed)
    vae, count = annotators.vae, region_count(dataset, seed)
    budget = count * distill.shown_samples

    looked_at = annotated_mistakes(dataset, seed, vae)
    order = numpy_generator(seed, stage, dataset, "mistakes").permutation(len(looked_at["majority"]))
    pool, held_out = np.array_split(order, 2)

    def singles(numbers: np.ndarray, validation_share: float) -> Rival:
        images = decode(vae, torch.from_numpy(looked_at["codes"][numbers]))
        labels, is_mistake = looked_at["majority"][numbers], looked_at["is_mistake"][numbers]
        return single_mistakes(images, labels, is_mistake, validation_share)

    distilled, random_state = distilled_codes(dataset, seed, vae), integer_seed(seed, stage, dataset, "clusters")
    clusterings = {
        "k-means": kmeans_regions(distilled["codes"], count, chosen.kmeans_starts, random_state),
        "mixture per class": class_regions(distilled["codes"], distilled["label"], count, random_state),
    }
    own = {purpose: decoded_regions(dataset, seed, vae, purpose) for purpose in ("correction", "validation", "test")}
    rivals = {
        "regions": Rival(own["correction"], own["validation"], budget),
        **{
            name: region_rival(annotators, regions, distill, annotate, seed, stage, dataset, name)
            for name, regions in clusterings.items()
        },
        "single mistakes": singles(pool[:budget], chosen.validation_share),
        "single mistakes, more labels": singles(pool, chosen.validation_share),
    }
    training, validation, test = (load_split(data_file(dataset), split) for split in ("train", "validation", "test"))
    data = {
        "validation": validation,
        "test": test,
        "region_test": own["test"],
        "mistake_test": singles(held_out, 0.0).training,
    }
    generator = torch_generator(seed, stage, dataset, "augmentation")
    augmented = augment(training[0], settings.train_oracle[dataset].augmentation, generator), training[1]
    table = pd.DataFrame(
        compare_rivals(
            annotators.classifier,
            training,
            augmented,
            rivals,
            "single mistakes",
            data,
            chosen,
            settings.correct[dataset],
            settings.finetune_baseline[dataset],
            machine,
            seed,
            stage,
            dataset,
        )
    )
    write_table(cell_folder(stage, dataset, seed) / "rivals.csv", table)
    return f"{len(table)} arms, {budget} images labelled for the regions and for each rival"


if __name__ == "__main__":
    cell_command("compare_rivals", compare, __doc__)
