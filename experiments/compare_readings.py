"""Compare readings of the method, and what rivals them, at the same labelling budget: same start, same steps."""

from dataclasses import replace

import numpy as np

from defuse.core.params import DESCRIBED, RELEASED, REPAIRED, compared_readings
from defuse.core.storage import save_arrays, write_json, write_table
from defuse.data.prepared import Labelled, load_split
from defuse.method.correction import draw_batches
from defuse.showing.figure_data import order_regions
from defuse.studies.checker import calibrate_checker
from defuse.studies.readings import (
    NO_SEARCH,
    Outcome,
    Searches,
    Study,
    kept_mistakes,
    take_reading,
    unlabelled_and_single,
    unseen_mistakes,
    without_search,
)
from defuse.studies.region_images import REGION_COLUMNS, shown_arrays
from defuse.studies.rivals import Rival, compare_rivals
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.described import clusterings, described_reading, described_search, singles
from experiments.shared.region_data import decoded_regions, region_count
from experiments.shared.trained import load_checker, load_vae


def compare(cell: Cell) -> str:
    """Take each reading from seed images to a corrected classifier, and each rival; write what they came to."""
    chosen = cell.params()
    annotators = load_annotators(cell)
    subject = annotators.subject
    data = {split: load_split(cell.data_file, split) for split in ("train", "validation", "test")}
    network, generator = load_checker(cell, subject.machine), cell.streams.torch("blends")
    checker = calibrate_checker(network, data["validation"], chosen, generator)
    common = (chosen, cell.params("distill"), cell.params("annotate"), region_count(cell), cell.streams)
    study = Study(annotators, checker, *common)
    released = replace(subject, vae=load_vae(cell, subject.machine, "train_released_vae"))
    subjects = {"train_vae": subject, "train_released_vae": released}
    sources = {split: data[split] for split in ("train", "test")}
    numbers = {
        split: np.sort(cell.streams.numpy("seed images", split).permutation(len(labels))[: chosen.seed_images])
        for split, (_, labels) in sources.items()
    }
    searches = Searches(subjects, sources, numbers, cell.streams)
    settings = {**compared_readings(chosen, cell.params("identify").noise), DESCRIBED: described_search(cell)}

    outcomes, unseen = {DESCRIBED: described_reading(cell, study)}, {}
    for name, reading in settings.items():
        own, streams = replace(annotators, subject=subjects[reading.autoencoder]), cell.streams.within(name)
        if name != DESCRIBED:
            outcomes[name] = take_reading(study, own, searches.mistakes(reading, "train"), reading, streams)
        if name in (RELEASED, DESCRIBED, REPAIRED):
            mistakes, _ = kept_mistakes(checker, own.subject.vae, searches.mistakes(reading, "test"), reading)
            unseen[f"{name}_mistakes"] = unseen_mistakes(own, mistakes, chosen.judged_mistakes, streams.numpy("unseen"))
    outcomes[NO_SEARCH] = without_search(study, data["train"], cell.streams.within(NO_SEARCH))

    single, mistake_test = singles(cell, study)
    rivals = {
        "regions": outcomes[DESCRIBED].rival,
        **clusterings(cell, study),
        **single,
        **{name: result.rival for name, result in outcomes.items() if name != DESCRIBED},
        **unlabelled_and_single(study, searches.mistakes(settings[REPAIRED], "train"), settings[REPAIRED]),
    }
    measured = {
        "validation": data["validation"],
        "test": data["test"],
        "region_test": decoded_regions(cell, subject.vae, "test"),
        "mistake_test": mistake_test,
        **unseen,
    }
    write_outcomes(cell, outcomes, data["test"])
    write_rivals(cell, study, rivals, data["train"], measured)
    works = {"checker_threshold": checker.threshold, "checker_originals_passed": checker.originals_passed}
    write_json(cell.folder() / "metrics.json", {**works, "machine": subject.machine.description})
    said = ", ".join(
        f"{name} {outcomes[name].row['accepted']} of {outcomes[name].row['regions']}"
        for name in (RELEASED, DESCRIBED, REPAIRED, NO_SEARCH)
    )
    return f"accepted regions: {said}; {len(rivals)} rivals{checker.doubt}"


def write_outcomes(cell: Cell, outcomes: dict[str, Outcome], test: Labelled) -> None:
    """Write each reading's row, and the regions and images of those that figures show."""
    import pandas as pd

    folder = cell.folder()
    rows = [{"reading": name, **result.row} for name, result in outcomes.items()]
    write_table(folder / "readings.csv", pd.DataFrame(rows))
    regions = [{"reading": name, **row} for name in (RELEASED, REPAIRED) for row in outcomes[name].regions]
    write_table(folder / "reading_regions.csv", pd.DataFrame(regions, columns=list(REGION_COLUMNS)))
    for name in (RELEASED, REPAIRED):
        result = outcomes[name]
        table = pd.DataFrame(result.regions, columns=list(REGION_COLUMNS[1:]))
        order, count = order_regions(table, len(table)), cell.params("distill").shown_samples
        arrays = shown_arrays(result.shown, result.annotated, order, count, test[0][0])
        save_arrays(folder / f"shown_{name}.npz", **arrays)


def write_rivals(
    cell: Cell, study: Study, rivals: dict[str, Rival], training: Labelled, measured: dict[str, Labelled]
) -> None:
    """Fine-tune in each arm, and write the accuracies."""
    import pandas as pd

    correction, recipe = cell.params("correct"), cell.params("train_classifier")
    # One stream for both: they draw the same images in the same order.
    batches = {
        arm: draw_batches(training, correction, cell.streams.torch("training"), augmentation)
        for arm, augmentation in (
            ("more training", recipe.augmentation),
            ("more training, augmented", cell.params("train_oracle").augmentation),
        )
    }
    rows = compare_rivals(
        study.annotators.subject,
        batches,
        rivals,
        measured,
        study.settings,
        correction,
        cell.params("finetune_baseline"),
        recipe,
        cell.streams,
    )
    write_table(cell.folder() / "rivals.csv", pd.DataFrame(rows))


if __name__ == "__main__":
    cell_command("compare_readings", compare, __doc__)
