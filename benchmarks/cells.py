"""Cells that were measured on another machine, beside the recorded ones."""

from collections.abc import Iterator
from pathlib import Path

from defuse.core.storage import read_json, read_table
from defuse.evidence.results import provenance, result_path
from defuse.showing.report import markdown

ELSEWHERE, SEED = Path("docs/gpu"), "0"
RESULTS = Path("results")
READINGS = ("described", "released", "repaired")
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


def beside_recorded(
    elsewhere: Path = ELSEWHERE, results: Path = RESULTS, timed: Path = Path("docs/stage-seconds.csv")
) -> Iterator[str]:
    """What cells took on another machine, and for each data set a table of theirs beside the recorded seeds."""
    state = read_json(elsewhere / "state.json")
    keys = ["stage", "dataset", "seed"]
    there, here = (read_table(path, *keys, "seconds") for path in (elsewhere / "stage-seconds.csv", timed))
    both = there.merge(here, on=keys, suffixes=("", "_here"))
    yield (
        f"{len(there)} stages, with those that seeds share, took {state['cells']['seconds'] / 60:.0f} minutes there. "
        f"{len(both)} of them are timed [here](cost.md) too, on one core each, where they took "
        f"{both.seconds_here.sum() / 3600:.1f} hours; there they took {both.seconds.sum() / 3600:.1f}, several at once."
    )
    for folder in sorted(path for path in elsewhere.iterdir() if path.is_dir()):
        lent = cell_values(folder, folder)
        kept = results / folder.name
        seeds = {path.name: cell_values(path, kept / "studies" / path.name) for path in (kept / "cells").iterdir()}
        rows = []
        for label, (_, _, form) in MEASURES.items():
            column = [values[label] for values in seeds.values()]
            shown = (lent[label], seeds[SEED][label], min(column), max(column))
            rows.append([label, *(form.format(value) for value in shown)])
        about = provenance(folder)
        processor = about["machines"]["train_classifier"]["processor"]
        head = [about["title"], processor, f"here, seed {SEED}", f"least of {len(seeds)} seeds", "most"]
        yield markdown(head, rows)
