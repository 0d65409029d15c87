"""Tables and images of the readings as `compare_readings` and `summarize` leave them, made up, for a data set's folder."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from defuse.core.storage import load_arrays, read_table, save_arrays, write_table
from defuse.core.verdicts import RegionVerdict
from defuse.evidence.results import result_path

READINGS = ("released", "described", "repaired")
WITHOUT = ("without_checker", "without_pairs", "without_members", "without_noises")
ARM_OF = {"described": "regions"}
ACCEPTED = {
    "released": 1,
    "described": 2,
    "repaired": 5,
    **dict(zip(WITHOUT, (3, 4, 2, 5))),
}  # of 6 regions, in the first seed
OWN = {"released": 0.1, "described": 0.2, "repaired": 0.75, **dict(zip(WITHOUT, (0.3, 0.7, 0.75, 0.8)))}
REPAIRED = {"released": 0.1, "described": 0.3, "repaired": 0.6, **dict(zip(WITHOUT, (0.4, 0.5, 0.35, 0.55)))}
REGIONS, IMAGES, ORACLES = 6, 10, 5
OTHER_ARMS = ("before", "more training", "k-means", "no label asked", "no search", "single labels")


def three_seeds(tables: Path, copy: Path) -> Path:
    """A copy of a data set's tables with the first three of its seeds, numbered 0 to 2; its medians are still of all."""
    shutil.copytree(tables, copy)
    for path in copy.glob("*.csv"):
        table = read_table(path)
        if "seed" in table:
            numbers = {seed: number for number, seed in enumerate(table.seed.unique()[:3])}
            table = table[table.seed.isin(numbers)]
            write_table(path, table.assign(seed=table.seed.map(numbers)))
    return copy


def reading_row(seed: int, reading: str) -> dict[str, object]:
    """A row of `readings.csv`; each further seed has a little more of everything."""
    accepted = min(ACCEPTED[reading] + seed % 2, REGIONS)
    own = OWN[reading] + 0.02 * seed
    return {
        "seed": seed,
        "reading": reading,
        "seed_images": 1000,
        "draws": 40_000,
        "identified": 900,
        "mistakes": 300,
        "judged": 200,
        "wrong_before_the_search": 0.05,
        "reconstruction": 0.05,
        "label_changed": 0.9 - own,
        "classifier_mistake": own,
        "third_label": 0.0,
        "not_recognisable": 0.0,
        "regions": REGIONS,
        "accepted": accepted,
        "no_agreement": 0,
        "not_recognisable_regions": REGIONS - accepted,
        "false_alarms": 0,
        "mean_agreement": 0.8,
        "mean_purity": 0.7,
        "member_failure": 0.6,
        "draw_failure": 0.5,
        "labels_asked": REGIONS * IMAGES,
    }


def region_rows(seed: int, reading: str) -> list[dict[str, object]]:
    """Rows of `reading_regions.csv`: region 0 is the smallest, and the last `accepted` are accepted."""
    rejected = REGIONS - int(str(reading_row(seed, reading)["accepted"]))
    return [
        {
            "seed": seed,
            "reading": reading,
            "region": region,
            "label": -1 if region < rejected else 3,
            "prediction": 8,
            "agreement": 0.0 if region < rejected else 0.9,
            "abstention": 0.9 if region < rejected else 0.1,
            "failures": 0.0 if region < rejected else 0.9,
            "verdict": str(RegionVerdict.NOT_RECOGNISABLE if region < rejected else RegionVerdict.ACCEPTED),
            "members": 20 + region,
            "share_of_mistakes": (1 + region) / 40,
            "member_failure": np.nan if region < rejected else 0.75,
            "draw_failure": np.nan if region < rejected else 0.5,
            "purity": 0.4,
        }
        for region in range(REGIONS)
    ]


def rival_row(seed: int, arm: str, repaired: float) -> dict[str, object]:
    """A row of `rivals.csv`: `repaired` is its accuracy on unseen mistakes of each kind."""
    kinds = ("region", "mistake")
    return {
        "seed": seed,
        "arm": arm,
        "lambda": 0.1,
        "learning_rate": np.nan,
        "labels_asked": 60,
        "images": 60,
        "validation_accuracy": 0.99,
        "test_accuracy": 0.99 if arm == "before" else 0.985,
        **{f"{kind}_test_accuracy": repaired for kind in kinds},
        **{f"{kind}_mistakes_accuracy": repaired + 0.01 * seed for kind in READINGS},
        "own_before_accuracy": 0.0,
        "own_accuracy": repaired,
    }


def write_readings(tables: Path, seeds: tuple[int, ...] = (0, 1, 2), ablated: bool = True) -> Path:
    """Write the readings' files into a data set's tables, which hold its provenance and `regions.npz`."""
    names = READINGS + (WITHOUT if ablated else ())
    arms = [*((arm, 0.02 if arm == "before" else 0.5) for arm in OTHER_ARMS)]
    arms += [(ARM_OF.get(name, name), REPAIRED[name]) for name in names]
    rows = {
        "readings": [reading_row(seed, reading) for seed in seeds for reading in names],
        "reading_regions": [
            row for seed in seeds for reading in ("released", "repaired") for row in region_rows(seed, reading)
        ],
        "rivals": [rival_row(seed, arm, repaired) for seed in seeds for arm, repaired in arms],
    }
    for name, content in rows.items():
        write_table(result_path(tables, f"{name}.csv"), pd.DataFrame(content))
    images = load_arrays(result_path(tables, "regions.npz"), "images")["images"]
    for place, reading in enumerate(("released", "repaired")):
        shown = np.roll(np.resize(images, (REGIONS, IMAGES, *images.shape[2:])), place, axis=0)
        counts = np.array([IMAGES] * (REGIONS - 1) + [2])
        shown[-1, 2:] = 0
        there = np.arange(IMAGES) < counts[:, None]
        save_arrays(
            result_path(tables, f"shown_{reading}.npz"),
            region=np.arange(REGIONS)[::-1].copy(),
            images=shown,
            shown=counts,
            prediction=np.where(there, 8, -1),
            votes=np.where(there[..., None], 3, np.full(ORACLES, -1)),
        )
    return tables


def empty_readings(tables: Path) -> None:
    """Leave no region of any reading, in any seed."""
    for reading in ("released", "repaired"):
        path = result_path(tables, f"shown_{reading}.npz")
        save_arrays(path, **{name: array[:0] for name, array in load_arrays(path).items()})
    path = result_path(tables, "reading_regions.csv")
    write_table(path, read_table(path).iloc[:0])
    path = result_path(tables, "readings.csv")
    counts = ["regions", "accepted", "no_agreement", "not_recognisable_regions", "false_alarms", "labels_asked"]
    means = ["mean_agreement", "mean_purity", "member_failure", "draw_failure"]
    write_table(path, read_table(path).assign(**dict.fromkeys(counts, 0), **dict.fromkeys(means, np.nan)))
