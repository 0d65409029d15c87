"""Hold the three data sets' summaries against the paper's claims: one table with verdicts."""

import pandas as pd

from defuse.core.storage import read_table, write_table
from defuse.evidence.claims import search_noise
from defuse.evidence.judging import COLUMNS, judge
from defuse.evidence.results import BY_EYE
from experiments.shared.cell import Cell
from experiments.shared.command import gathering_command

DEMONSTRATION = "digits"


def check_claims(cell: Cell) -> str:
    """Write the table of claims."""
    rows = []
    for dataset in cell.settings.datasets:
        if dataset != DEMONSTRATION:
            noise = search_noise(cell.settings.identify[dataset].noise, cell.settings.ablate_noise[dataset].noises)
            folder = cell.results / dataset
            by_eye = read_table(folder / BY_EYE, "sheet", "by_eye", "count")
            rows += judge(cell.settings.claims, dataset, noise, folder / "tables", list(cell.settings.seeds), by_eye)
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_table(cell.results / "claims.csv", table)
    decided = table.drop_duplicates(["claim", "data"]).query("rule != ''").verdict.value_counts()
    return f"{len(rows)} rows; verdicts: " + ", ".join(f"{count} {name}" for name, count in decided.items())


if __name__ == "__main__":
    gathering_command("claims", check_claims, __doc__)
