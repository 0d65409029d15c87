"""The rules that decide what the seeds say of a claim, and the table of claims.

A condition sets one measure against a bound, cell by cell (a seed is a cell). It holds, fails or stays open by a sign
test over the cells (`sign_test`), which asks nothing of how the values are distributed. The conditions decide the claim
(`verdict`).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from defuse.core import params
from defuse.core.errors import ClaimsError
from defuse.core.statistics import median_interval, sign_test
from defuse.core.verdicts import ClaimVerdict
from defuse.evidence.claims import Claim, Condition, claims
from defuse.evidence.results import measures_by_seed, provenance, result_path

COLUMNS = (
    "claim",
    "statement",
    "source",
    "data",
    "measure",
    "rule",
    "paper_value",
    "median",
    "low",
    "high",
    "values",
    "met",
    "judged",
    "seeds",
    "holds",
    "all_met",
    "all_judged",
    "verdict",
    "file",
)


def verdict(decisions: list[bool | None], parts: bool) -> ClaimVerdict:
    """What a claim's conditions (True holds, False fails, None open) say of it.

    All hold: reproduced. One fails: not reproduced; with `parts`, where the source states the conditions separately,
    partly if another holds, and not reproduced if all fail. What an open condition could still turn over is
    inconclusive.
    """
    if all(decisions):
        return ClaimVerdict.REPRODUCED
    failed = [decision is False for decision in decisions]
    if parts and any(failed) and any(decisions):
        return ClaimVerdict.PARTLY
    return ClaimVerdict.NOT_REPRODUCED if (all if parts else any)(failed) else ClaimVerdict.INCONCLUSIVE


def judged_cells(condition: Condition, values: pd.Series, nothing_fails: bool) -> pd.Series:
    """By seed, whether it meets the condition.

    A seed in which nothing could be measured is left out, or with `nothing_fails` does not meet it.
    """
    kept = values if nothing_fails else values.dropna()
    return kept.map(lambda value: not np.isnan(value) and condition.met(value)).astype(bool)


def all_conditions(cells: list[pd.Series]) -> pd.Series:
    """By seed, whether it meets all conditions; a seed that could not be judged by all and misses none is left out."""
    table = pd.concat(cells, axis=1)
    missed = table.eq(False).any(axis=1)
    return ~missed[missed | table.notna().all(axis=1)]


def measures_of(claim: Claim, names: list[str]) -> list[str]:
    """The measures that a claim names; for a question about arms, those of each arm in `names`."""
    if claim.conditions:
        return [condition.measure for condition in claim.conditions]
    if not claim.arms:
        return list(claim.measures)
    arms = dict.fromkeys(name.rpartition(".")[0] for name in names if name.startswith(f"{claim.arms} "))
    return [f"{arm}.{measure}" for arm in arms or [f"{claim.arms} ..."] for measure in claim.measures]


def load_measures(tables: Path, seeds: list[int]) -> dict[str, pd.Series]:
    """As `measures_by_seed`.

    Raises:
        ClaimsError: the tables hold seeds that `params.yaml` does not name. Some may still be missing.
        StorageError: a table is missing.
    """
    measures = measures_by_seed(tables)
    found = sorted({seed for values in measures.values() for seed in values.index})
    if not set(found) <= set(seeds):
        raise ClaimsError(f"{tables}: made from seeds {found}, params.yaml names {sorted(seeds)}; run summarize")
    return measures


def judge(bounds: params.Claims, dataset: str, noise: str, tables: Path, seeds: list[int]) -> list[dict[str, object]]:
    """Rows of the claims table for one data set, one per claim and measure, with COLUMNS as keys.

    Args:
        bounds: of the conditions.
        dataset: whose bound for reconstructions counts.
        noise: as in `claims`.
        tables: the data set's.
        seeds: what `params.yaml` asks for.

    Returns:
        median, low and high of the measure, and its `values` in the order of the seeds; of `seeds` cells `judged` could
        be judged and `met` meet the bound; `all_met` of `all_judged` meet all conditions of the claim.

    Raises:
        ClaimsError: a measure that the tables do not have, or a seed that `params.yaml` does not name.
    """
    measures, about, rows = load_measures(tables, seeds), provenance(tables), []
    asked = {claim: measures_of(claim, list(measures)) for claim in claims(bounds, dataset, noise)}
    missing = [f"{name} ({claim.name})" for claim, names in asked.items() for name in names if name not in measures]
    if missing:
        raise ClaimsError(
            f"{tables}: no such measure: {', '.join(missing)}; run the cells' summaries and summarize again"
        )
    for claim, names in asked.items():
        cells = [judged_cells(item, measures[item.measure], claim.nothing_fails) for item in claim.conditions]
        decisions = [sign_test(int(cell.sum()), len(cell)) for cell in cells]
        together = all_conditions(cells) if cells else pd.Series(dtype=bool)
        for place, name in enumerate(names):
            values = measures[name].sort_index()
            median, low, high = median_interval(values.to_numpy())
            row = {
                "claim": claim.name,
                "statement": claim.statement,
                "source": claim.source,
                "data": about["title"],
                "measure": name,
                "rule": "",
                "paper_value": "",
                "median": median,
                "low": low,
                "high": high,
                "values": " ".join(f"{value:.8g}" for value in values),
                "met": "",
                "judged": "",
                "seeds": len(values),
                "holds": "",
                "all_met": "",
                "all_judged": "",
                "verdict": ClaimVerdict.MEASURED,
                "file": result_path(tables, "measures.csv").as_posix(),
            }
            if cells:
                condition, cell = claim.conditions[place], cells[place]
                row |= {
                    "rule": f"{condition.sign} {condition.bound:g}",
                    "met": int(cell.sum()),
                    "judged": len(cell),
                    "holds": {True: "yes", False: "no", None: "open"}[decisions[place]],
                    "all_met": int(together.sum()),
                    "all_judged": len(together),
                    "verdict": verdict(decisions, claim.parts),
                }
            rows.append(row)
    return rows
