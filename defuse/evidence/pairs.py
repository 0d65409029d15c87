"""The same bugs over seeds: pairs of annotators' label and prediction that accepted regions of several seeds have."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from defuse.core.params import DESCRIBED, REPAIRED
from defuse.core.storage import read_table
from defuse.core.verdicts import RegionVerdict
from defuse.evidence.results import result_path, seeds_of


def accepted_pairs(regions: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    """How many accepted regions of each pair of label and prediction each seed has.

    Args:
        regions: all seeds' regions of one reading.
        seeds: those of the reading, of which some may have no region.

    Returns:
        A row for each (label, prediction), those of most seeds first, between equals those of most regions, then by
        label and prediction; a column for each seed.
    """
    accepted = regions[regions.verdict == RegionVerdict.ACCEPTED].astype({"label": int, "prediction": int})
    counts = accepted.groupby(["label", "prediction", "seed"]).size().unstack("seed", fill_value=0)
    counts = counts.reindex(columns=list(seeds), fill_value=0)
    order = counts.assign(seeds=(counts > 0).sum(axis=1), regions=counts.sum(axis=1)).reset_index()
    names = ["seeds", "regions", "label", "prediction"]
    return counts.iloc[order.sort_values(names, ascending=[False, False, True, True]).index]


def pairs_by_reading(tables: Path, measures: dict[str, pd.Series]) -> dict[str, pd.DataFrame]:
    """`accepted_pairs` of the method as described and as repaired; without the latter where it was not recorded.

    Args:
        tables: of a data set.
        measures: its `measures_by_seed`.
    """
    regions = read_table(result_path(tables, "regions.csv"), "seed", "label", "prediction", "verdict")
    found = {DESCRIBED: accepted_pairs(regions, seeds_of(measures))}
    readings = result_path(tables, "readings.csv")
    if readings.is_file():
        regions = read_table(result_path(tables, "reading_regions.csv"), "reading", "label", "prediction", "verdict")
        seeds = read_table(readings, "seed").seed.unique().tolist()
        found[REPAIRED] = accepted_pairs(regions[regions.reading == REPAIRED], seeds)
    return found


def come_back(pairs: pd.DataFrame) -> pd.Series:
    """Of `accepted_pairs`, whether each is found in at least half of the seeds, and in more than one."""
    return (pairs > 0).sum(axis=1) >= max(2, len(pairs.columns) / 2)
