"""Hold the three data sets' summaries against the paper's claims: one table with verdicts."""

import pandas as pd

from defuse.core.params import Settings
from defuse.core.storage import write_table
from defuse.evidence.claims import COLUMNS, judge, search_noise
from experiments.shared.cell import RESULTS, gathering_command

DEMONSTRATION = "digits"


def check_claims(settings: Settings) -> str:
    rows = []
    for dataset in settings.datasets:
        if dataset != DEMONSTRATION:
            noise = search_noise(settings.identify[dataset].noise, settings.ablate_noise[dataset].noises)
            tables = RESULTS / dataset / "tables"
            rows += judge(settings.claims, dataset, noise, tables, list(settings.seeds))
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_table(RESULTS / "claims.csv", table)
    decided = table.drop_duplicates(["claim", "data"]).query("rule != ''").indication.value_counts()
    return f"{len(rows)} rows; indications: " + ", ".join(f"{count} {name}" for name, count in decided.items())


if __name__ == "__main__":
    gathering_command("claims", check_claims, __doc__)
