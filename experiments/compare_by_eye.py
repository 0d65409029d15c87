"""Set a person's judgement of the contact sheets (docs/by_eye/) beside the oracles'."""

from pathlib import Path

import numpy as np
import pandas as pd

from defuse.core.storage import load_arrays, read_table, write_table
from defuse.core.verdicts import RegionVerdict
from defuse.evidence.results import BY_EYE, result_path
from defuse.studies.by_eye import READINGS, compare
from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command

JUDGEMENTS = Path("docs/by_eye")


def tally(cell: Cell) -> str:
    """Write how often a person agrees with the oracles."""
    tables = cell.tables
    regions, mistakes = result_path(tables, "regions.npz"), result_path(tables, "identified.npz")
    verdicts = read_table(result_path(tables, "regions.csv"), "seed", "region", "verdict")
    first = verdicts[verdicts.seed == cell.settings.seeds[0]].set_index("region").verdict
    shown = load_arrays(regions, "region")["region"]
    causes = load_arrays(mistakes, "cause")["cause"]
    judged = [
        compare(JUDGEMENTS / f"{cell.dataset}_regions.csv", "regions", regions, first.loc[shown].to_numpy(str)),
        compare(JUDGEMENTS / f"{cell.dataset}_mistakes.csv", "mistakes", mistakes, causes),
    ]
    for seed in cell.settings.study_seeds[:1]:
        verdicts = read_table(result_path(tables, "reading_regions.csv"), "seed", "reading", "region", "verdict")
        verdicts = verdicts[verdicts.seed == seed].set_index(["reading", "region"]).verdict
        for reading in READINGS:
            sheet = result_path(tables, f"shown_{reading}.npz")
            said = [verdicts[reading, region] for region in load_arrays(sheet, "region")["region"]]
            accepted = np.array([verdict for verdict in said if verdict == RegionVerdict.ACCEPTED], str)
            judged.append(compare(JUDGEMENTS / f"{cell.dataset}_{reading}.csv", reading, sheet, accepted))
    table = pd.concat(judged, ignore_index=True)
    write_table(cell.results / cell.dataset / BY_EYE, table)
    return f"{table['count'].sum()} items of these contact sheets were judged by eye"


if __name__ == "__main__":
    dataset_command("compare_by_eye", tally, __doc__)
