"""Hold the three data sets' summaries against the paper's claims: one table with verdicts."""

import logging
import sys
import time

import pandas as pd
import typer

from defuse.claims import COLUMNS, ClaimsError, judge
from defuse.params import ParamsError, Settings, load_params
from defuse.storage import StorageError, write_table
from experiments.cell import PARAMS, RESULTS

DEMONSTRATION = "digits"


def check_claims(settings: Settings) -> str:
    rows = [row for dataset in settings.datasets if dataset != DEMONSTRATION
            for row in judge(settings.claims, RESULTS / dataset / "tables", list(settings.seeds))]  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_table(RESULTS / "claims.csv", table)
    decided = table.drop_duplicates(["claim", "data"]).query("rule != ''").indication.value_counts()
    return f"{len(rows)} rows; indications: " + ", ".join(f"{count} {name}" for name, count in decided.items())


def command() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    start = time.perf_counter()
    try:
        closing = check_claims(load_params(PARAMS))
    except (ClaimsError, ParamsError, StorageError) as error:
        raise SystemExit(f"claims: {error}") from None
    logging.info("claims: %s (%.1f s)", closing, time.perf_counter() - start)


if __name__ == "__main__":
    command.__doc__ = __doc__
    typer.run(command)
