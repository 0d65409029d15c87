"""The rules that decide what the seeds say of a claim, and the table of claims.

A condition sets one measure against a bound, cell by cell (a seed is a cell). It holds, fails or stays open by a sign
test over the cells (`sign_test`), which asks nothing of how the values are distributed. The conditions decide the claim
(`verdict`). A claim about what a person sees is decided by the one judgement of a contact sheet (`of_sheet`).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from defuse.core import params
from defuse.core.errors import ClaimsError
from defuse.core.statistics import median_interval, sign_test
from defuse.core.verdicts import ClaimVerdict
from defuse.evidence.claims import Claim, Condition, claims
from defuse.evidence.results import BY_EYE, measures_by_seed, provenance, result_path

FEWEST_REGIONS = 5  # on a contact sheet, as of seeds: fewer decide nothing
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
    "stage",
)
# Stages of the pipeline that measure what has another name in the table of measures; the others are stages themselves.
MEASURED_BY = {
    "outcome": "correct, finetune_baseline",
    "noise": "ablate_noise",
    "search": "ablate_search",
    "VAE": "ablate_vae",
    "tau": "ablate_regions",
    "mixture": "ablate_regions",
    "cause": "annotate",
    "accepted regions": "annotate",
    "rival": "compare_readings",
    "regions against": "compare_readings",
    "reading": "compare_readings",
    "readings": "compare_readings",
    "planted": "plant_bugs",
}
HOLDS = {True: "yes", False: "no", None: "open"}


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


def of_sheet(condition: Condition, right: int, judged: int) -> bool | None:
    """Whether a contact sheet meets a bound on the share of its regions that are right by eye; None where it is open.

    It is open where nobody has looked at the sheet, and where fewer than five regions are on it.

    Args:
        condition: a sign and a bound on the share.
        right: regions that a person calls right, without those on which they could not decide.
        judged: all accepted regions on the sheet, or 0 where nobody has looked.
    """
    return condition.met(right / judged) if judged >= FEWEST_REGIONS else None


def measures_of(claim: Claim, names: list[str]) -> list[str]:
    """The measures that a claim names; for a question about arms, those of each arm in `names`."""
    if claim.sheet:
        return []  # no seed's
    if claim.conditions:
        return [condition.measure for condition in claim.conditions]
    if not claim.arms:
        return list(claim.measures)
    arms = dict.fromkeys(name.rpartition(".")[0] for name in names if name.startswith(f"{claim.arms} "))
    return [f"{arm}.{measure}" for arm in arms or [f"{claim.arms} ..."] for measure in claim.measures]


def stages_of(measure: str, dataset: str) -> str:
    """The stages that make a measure of a data set: those that measure it in a cell, then the one that gathers cells.

    `dvc repro STAGE` runs one of them, with what it needs.
    """
    name = measure.rpartition(".")[0]
    measuring = [stages for kind, stages in MEASURED_BY.items() if name == kind or name.startswith(f"{kind} ")]
    return f"{measuring[0] if measuring else name}, summarize@{dataset}"


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


def sheet_row(claim: Claim, by_eye: pd.DataFrame) -> dict[str, object]:
    """What a claim's row says of the judgement of its sheet: here `met` and `judged` count regions, not seeds."""
    (condition,) = claim.conditions
    counts = by_eye[by_eye.sheet == claim.sheet]
    right, judged = int(counts["count"][counts.by_eye == "right"].sum()), int(counts["count"].sum())
    decision = of_sheet(condition, right, judged)
    share = right / judged if judged else np.nan
    return {
        "measure": condition.measure,
        "rule": f"{condition.sign} {condition.bound:g}",
        "median": share,
        "values": f"{share:.8g}",
        **dict.fromkeys(("met", "all_met"), right),
        **dict.fromkeys(("judged", "all_judged", "seeds"), judged),
        "holds": HOLDS[decision],
        "verdict": verdict([decision], claim.parts),
    }


def judge(
    bounds: params.Claims, dataset: str, noise: str, tables: Path, seeds: list[int], by_eye: pd.DataFrame
) -> list[dict[str, object]]:
    """Rows of the claims table for one data set, one per claim and measure, with COLUMNS as keys.

    Args:
        bounds: of the conditions.
        dataset: whose bound for reconstructions counts.
        noise: as in `claims`.
        tables: the data set's.
        seeds: what `params.yaml` asks for.
        by_eye: how often a person said what of the contact sheets, with columns sheet, by_eye and count.

    Returns:
        median, low and high of the measure, and its `values` in the order of the seeds; of `seeds` cells `judged` could
        be judged and `met` meet the bound; `all_met` of `all_judged` meet all conditions of the claim. `file` holds the
        values, and `stage` names the stages that made them (`stages_of`).

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
        about_claim = {
            **dict.fromkeys(COLUMNS, ""),
            "claim": claim.name,
            "statement": claim.statement,
            "source": claim.source,
            "data": about["title"],
        }
        if claim.sheet:
            made = {"file": tables.with_name(BY_EYE).as_posix(), "stage": f"compare_by_eye@{dataset}"}
            rows.append({**about_claim, **sheet_row(claim, by_eye), **made})
            continue
        cells = [judged_cells(item, measures[item.measure], claim.nothing_fails) for item in claim.conditions]
        decisions = [sign_test(int(cell.sum()), len(cell)) for cell in cells]
        together = all_conditions(cells) if cells else pd.Series(dtype=bool)
        for place, name in enumerate(names):
            values = measures[name]
            median, low, high = median_interval(values.to_numpy())
            row = {
                **about_claim,
                "measure": name,
                "median": median,
                "low": low,
                "high": high,
                "values": " ".join(f"{value:.8g}" for value in values),
                "seeds": len(values),
                "verdict": ClaimVerdict.MEASURED,
                "file": result_path(tables, "measures.csv").as_posix(),
                "stage": stages_of(name, dataset),
            }
            if cells:
                condition, cell = claim.conditions[place], cells[place]
                row |= {
                    "rule": f"{condition.sign} {condition.bound:g}",
                    "met": int(cell.sum()),
                    "judged": len(cell),
                    "holds": HOLDS[decisions[place]],
                    "all_met": int(together.sum()),
                    "all_judged": len(together),
                    "verdict": verdict(decisions, claim.parts),
                }
            rows.append(row)
    return rows
