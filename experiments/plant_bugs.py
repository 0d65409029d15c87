"""Train classifiers with bugs put in on purpose, and measure whether regions of their mistakes match the bugs."""

import numpy as np
from tqdm import tqdm

from defuse.core.storage import save_arrays, write_json, write_table
from defuse.data.prepared import CLASSES, load_split
from defuse.models.evaluation import predict
from defuse.models.machine import set_up_machine
from defuse.models.subject import Subject
from defuse.studies.checker import calibrate_checker
from defuse.studies.planting import find_subgroup, plant, planted_classifier, touched_images
from defuse.studies.readings import Searches
from defuse.studies.recovery import (
    MAIN_VAE,
    SHOWN_ARMS,
    as_configured,
    bug_rows,
    cluster_arms,
    example_images,
    headlines,
    reading_arms,
    region_total,
    with_outcome,
)
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.trained import load_checker, load_vae


def plant_bugs(cell: Cell) -> str:
    """Train a classifier with each bug, search and cluster its mistakes, and write whether the bug was found."""
    import pandas as pd

    chosen, compared, distill = cell.params(), cell.params("compare_readings"), cell.params("distill")
    training = cell.params("train_classifier").model_copy(update={"epochs": chosen.epochs})
    machine = set_up_machine(cell.settings.compute)
    vaes = {stage: load_vae(cell, machine, stage) for stage in (MAIN_VAE, "train_released_vae")}
    data = {split: load_split(cell.data_file, split) for split in ("train", "validation", "test")}
    checker = calibrate_checker(load_checker(cell, machine), data["validation"], compared, cell.streams.torch("blends"))
    (images, labels), test = data["train"], data["test"]
    subgroups = {name: find_subgroup(data["train"], test, bug) for name, bug in chosen.bugs.items()}
    generator = cell.streams.numpy("seed images")
    seed_images = np.sort(generator.choice(len(labels), min(chosen.seed_images, len(labels)), replace=False))
    network = {**chosen.network.model_dump(), "channels": images.shape[1], "classes": CLASSES[cell.dataset]}

    rows, examples = [], []
    # The control is trained once and held against every bug.
    planted = [(None, 0.0), *((name, strength) for name in chosen.bugs for strength in chosen.strengths)]
    for name, strength in tqdm(planted, desc=str(cell), disable=None, leave=False):
        touched, bug = np.zeros(0, np.int64), chosen.bugs.get(name)
        if bug is not None:
            touched = touched_images(subgroups[name].training, strength, cell.streams.numpy("touched", name))
        said, data_with_bug = f"{name or 'control'} {strength:g}", plant(images, labels, touched, bug)
        classifier = planted_classifier(
            network, data_with_bug, data["validation"], training, machine, cell.streams, said
        )
        right = (predict(classifier, test[0]).argmax(1) == test[1]).numpy()
        subjects = {stage: Subject(classifier, vae, machine) for stage, vae in vaes.items()}
        arms, seeds = cluster_arms(
            subjects[MAIN_VAE],
            data,
            seed_images,
            cell.params("identify"),
            distill,
            chosen.kmeans_starts,
            cell.streams,
            f"search {said}",
        )
        if strength in (0, 1):  # each reading costs a search
            searches = Searches(subjects, {"train": data["train"]}, {"train": seed_images}, cell.streams)
            count = region_total(arms[as_configured(distill)])
            arms |= reading_arms(searches, checker, compared, distill, count, cell.streams)
        for measured in chosen.bugs if name is None else [name]:
            common = {"bug": measured, "strength": strength, "touched": len(touched)}
            found, best = bug_rows(arms, seeds, right, subgroups[measured], chosen.bugs[measured], chosen)
            rows += [{**common, **row} for row in found]
            if strength == 1:
                own, draws = subgroups[name].training, cell.streams.numpy("examples", name)
                examples.append(example_images(images, subjects, own, arms, best, chosen.shown_images, draws))
    table = with_outcome(pd.DataFrame(rows), chosen)
    write_table(cell.folder() / "planted.csv", table)
    save_arrays(
        cell.folder() / "examples.npz",
        arm=np.array(SHOWN_ARMS),
        bug=np.array(list(chosen.bugs)),
        **{part: np.stack([example[part] for example in examples]) for part in examples[0]},
    )
    measures = headlines(table, as_configured(distill))
    write_json(cell.folder() / "metrics.json", {**measures, "machine": machine.description})
    return (
        f"{measures['found']:.0%} of {len(chosen.bugs)} bugs found at full strength, "
        f"{measures['found_in_control']:.0%} without one, {measures['found_by_kmeans']:.0%} by k-means, "
        f"{measures['found_beyond_no_search']:.0%} by the repaired reading and not without a search; "
        f"{measures['took']:.0%} took{checker.doubt}"
    )


if __name__ == "__main__":
    cell_command("plant_bugs", plant_bugs, __doc__)
