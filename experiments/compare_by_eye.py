"""Set a person's judgement of the contact sheets (docs/by_eye/) beside the oracles'."""

from pathlib import Path

import pandas as pd

from defuse.core.params import Settings
from defuse.core.storage import load_arrays, read_table, write_table
from defuse.evidence.results import result_path
from defuse.studies.by_eye import compare
from experiments.shared.cell import RESULTS, dataset_command

JUDGEMENTS = Path("docs/by_eye")


def tally(settings: Settings, dataset: str) -> str:
    tables = RESULTS / dataset / "tables"
    regions, mistakes = result_path(tables, "regions.npz"), result_path(tables, "identified.npz")
    verdicts = read_table(result_path(tables, "regions.csv"), "seed", "region", "verdict")
    first = verdicts[verdicts.seed == settings.seeds[0]].set_index("region").verdict
    shown = load_arrays(regions, "region")["region"]
    table = pd.concat(
        [
            compare(JUDGEMENTS / f"{dataset}_regions.csv", "regions", regions, first.loc[shown].to_numpy(str)),
            compare(
                JUDGEMENTS / f"{dataset}_mistakes.csv", "mistakes", mistakes, load_arrays(mistakes, "cause")["cause"]
            ),
        ],
        ignore_index=True,
    )
    write_table(RESULTS / dataset / "by_eye.csv", table)
    return f"{table['count'].sum()} items of these contact sheets were judged by eye"


if __name__ == "__main__":
    dataset_command("compare_by_eye", tally, __doc__)
