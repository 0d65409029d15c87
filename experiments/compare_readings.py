"""Compare readings of the method, and what rivals them, at the same labelling budget: same start, same steps."""

from dataclasses import replace

import numpy as np

from defuse.core.params import DESCRIBED, RELEASED, REPAIRED, compared_readings
from defuse.core.storage import write_json
from defuse.data.prepared import load_split
from defuse.studies.checker import calibrate_checker
from defuse.studies.readings import (
    NO_SEARCH,
    Searches,
    Study,
    take_reading,
    unlabelled_and_single,
    unseen_mistakes,
    without_search,
)
from experiments.shared.annotators import load_annotators
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.described import clusterings, described_reading, described_search, singles
from experiments.shared.reading_outputs import write_outcomes, write_rivals
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
            found, kept = searches.mistakes(reading, "train"), searches.kept(checker, reading, "train")
            outcomes[name] = take_reading(study, own, found, kept, reading, streams)
        if name in (RELEASED, DESCRIBED, REPAIRED):
            mistakes, _ = searches.kept(checker, reading, "test")
            unseen[f"{name}_mistakes"] = unseen_mistakes(own, mistakes, chosen.judged_mistakes, streams.numpy("unseen"))
    outcomes[NO_SEARCH] = without_search(study, data["train"], cell.streams.within(NO_SEARCH))

    single, mistake_test = singles(cell, study)
    rivals = {
        "regions": outcomes[DESCRIBED].rival,
        **clusterings(cell, study),
        **single,
        **{name: result.rival for name, result in outcomes.items() if name != DESCRIBED},
        **unlabelled_and_single(study, searches.kept(checker, settings[REPAIRED], "train")),
    }
    measured = {
        "validation": data["validation"],
        "test": data["test"],
        "region_test": decoded_regions(cell, subject.vae, "test"),
        "mistake_test": mistake_test,
        **unseen,
    }
    write_outcomes(cell, outcomes, data["test"][0][0])
    write_rivals(cell, study, rivals, data["train"], measured)
    facts = {f"checker_{name}": getattr(checker, name) for name in ("threshold", "originals_passed", "blends_passed")}
    write_json(cell.folder() / "metrics.json", {**facts, "machine": subject.machine.description})
    said = ", ".join(
        f"{name} {outcomes[name].row['accepted']} of {outcomes[name].row['regions']}"
        for name in (RELEASED, DESCRIBED, REPAIRED, NO_SEARCH)
    )
    return f"accepted regions: {said}; {len(rivals)} rivals{checker.doubt}"


if __name__ == "__main__":
    cell_command("compare_readings", compare, __doc__)
