"""The generated part of docs/gpu.md: cells that ran on a lent GPU, beside the recorded ones."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from defuse.core.storage import read_json, read_table
from defuse.evidence.results import measures_by_seed, provenance, result_path
from defuse.evidence.tables import READINGS
from defuse.showing.report import linked, markdown
from defuse.showing.written_pages import STAGE_SECONDS

PAGE, LENT, SEED = Path("docs/gpu.md"), Path("docs/gpu"), 0
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


def cell_values(cell: Path) -> dict[str, float]:
    """The measures above of one cell, from the `measures.json` and `readings.csv` of its folder."""
    of_stage = read_json(result_path(cell, "measures.json"))
    readings = read_table(result_path(cell, "readings.csv"), "reading").set_index("reading")
    return {
        label: float(readings.loc[where, name] if where in READINGS else of_stage[where][name])
        for label, (where, name, _) in MEASURES.items()
    }


def values_here(tables: Path) -> dict[str, pd.Series]:
    """The same measures of all recorded seeds, each indexed by its seeds; the readings have the studies' seeds."""
    measures = measures_by_seed(tables)
    return {
        label: measures.get(
            f"reading {where}.{name}" if where in READINGS else f"{where}.{name}", pd.Series(dtype=float)
        )
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
    other = ", of another seed" if (both.seed.notna() & (both.seed != both.seed_here)).any() else ""
    return (
        f"{len(there)} stages, with those that seeds share, took {minutes:.0f} minutes from start to end on the GPU's "
        f"machine. {len(both)} of them were also timed {linked('on one CPU core', timed, page)} each{other}: "
        f"they add up to {hours_here:.1f} hours, against {hours:.1f} there, where several ran at once."
    )


def gpu_blocks(
    results: Path, datasets: Sequence[str], lent: Path = LENT, timed: Path = STAGE_SECONDS
) -> dict[str, str]:
    """The generated part of the page: the cells from the GPU, the same seed here, and the range of all seeds here.

    Args:
        results: folder of the recorded tables.
        datasets: those to show; one without a cell from the GPU or without that seed here is left out.
        lent: folder with what came back from the GPU.
        timed: table of the seconds of the recorded stages.
    """
    gpu = read_json(lent / "machine.json")["gpu"]
    parts = [seconds_taken(lent, timed, PAGE)]
    for name in datasets:
        tables = results / name / "tables"
        if not ((lent / name).is_dir() and tables.is_dir()):
            continue
        there, here = cell_values(lent / name), values_here(tables)
        if any(SEED not in values for values in here.values()):
            continue
        rows = []
        for label, (_, _, form) in MEASURES.items():
            values = (there[label], here[label][SEED], here[label].min(), here[label].max())
            rows.append([label, *(form.format(value) for value in values), str(len(here[label]))])
        title = str(provenance(lent / name)["title"])
        parts.append(markdown([title, gpu, f"here, seed {SEED}", "lowest here", "highest here", "seeds here"], rows))
    return {"cells": "\n\n".join(parts)}
