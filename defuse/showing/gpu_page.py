"""The generated part of docs/gpu.md: cells that ran on a lent GPU, beside the recorded ones."""

from collections.abc import Sequence
from pathlib import Path

from defuse.core.storage import read_json, read_table
from defuse.evidence.results import provenance, result_path
from defuse.evidence.tables import READINGS
from defuse.showing.report import linked, markdown
from defuse.showing.written_pages import STAGE_SECONDS

PAGE, LENT, SEED = Path("docs/gpu.md"), Path("docs/gpu"), "0"
MEASURES = {
    "classifier: test accuracy": ("train_classifier", "test_accuracy", "{:.2%}"),
    "VAE: ELBO, nats per validation image": ("train_vae", "validation_elbo", "{:,.1f}"),
    "images that the search keeps": ("identify", "mistakes", "{:,.0f}"),
    **{
        f"{reading}: {words}": (reading, column, form)
        for reading in READINGS
        for words, column, form in (
            ("the classifier's own mistakes among those judged", "classifier_mistake", "{:.1%}"),
            ("regions accepted", "accepted", "{:.0f}"),
            ("of regions", "regions", "{:.0f}"),
        )
    },
}


def cell_values(cell: Path, studies: Path) -> dict[str, float]:
    """The measures above of one cell, from its tables.

    Args:
        cell: folder with the cell's `measures.json`.
        studies: folder with its `readings.csv`; may be the same.
    """
    of_stage = read_json(result_path(cell, "measures.json"))
    readings = read_table(result_path(studies, "readings.csv"), "reading").set_index("reading")
    return {
        label: float(readings.loc[where, name] if where in READINGS else of_stage[where][name])
        for label, (where, name, _) in MEASURES.items()
    }


def seconds_taken(lent: Path, timed: Path, page: Path) -> str:
    """What the cells took on the GPU, and those of their stages that are timed here too."""
    state = read_json(lent / "state.json")
    keys = ["stage", "dataset"]
    there, here = (
        read_table(path, *keys, "seconds").drop_duplicates(keys) for path in (lent / "stage-seconds.csv", timed)
    )
    both = there.merge(here, on=keys, suffixes=("", "_here"))  # of one seed each, not always the same
    minutes, hours, hours_here = (
        state["cells"]["seconds"] / 60,
        both.seconds.sum() / 3600,
        both.seconds_here.sum() / 3600,
    )
    return (
        f"{len(there)} stages, with those that seeds share, took {minutes:.0f} minutes from start to end on the GPU's "
        f"machine. {len(both)} of them were also timed {linked('on one CPU core', timed, page)} each: they add up to "
        f"{hours_here:.1f} hours, against {hours:.1f} there, where several ran at once."
    )


def gpu_blocks(
    results: Path, datasets: Sequence[str], lent: Path = LENT, timed: Path = STAGE_SECONDS
) -> dict[str, str]:
    """The generated part of the page: the cells from the GPU, the same seed here, and the range of all seeds here.

    Args:
        results: folder of the recorded cells and studies.
        datasets: those to show; one without a cell from the GPU or without that seed here is left out.
        lent: folder with what came back from the GPU.
        timed: table of the seconds of the recorded stages.
    """
    gpu = read_json(lent / "machine.json")["gpu"]
    parts = [seconds_taken(lent, timed, PAGE)]
    for name in datasets:
        cells, studies = results / name / "cells", results / name / "studies"
        if not ((lent / name).is_dir() and (cells / SEED).is_dir()):
            continue
        there = cell_values(lent / name, lent / name)
        here = {path.name: cell_values(path, studies / path.name) for path in cells.iterdir()}
        rows = []
        for label, (_, _, form) in MEASURES.items():
            column = [values[label] for values in here.values()]
            values = (there[label], here[SEED][label], min(column), max(column))
            rows.append([label, *(form.format(value) for value in values)])
        title, count = str(provenance(lent / name)["title"]), len(here)
        parts.append(markdown([title, gpu, f"here, seed {SEED}", f"lowest of {count} seeds", "highest"], rows))
    return {"cells": "\n\n".join(parts)}
