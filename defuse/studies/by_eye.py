"""A person's judgement of the contact sheets beside the oracles': how far their annotation can be believed."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from defuse.annotators.people import check_rows, read_rows
from defuse.core.errors import VotesError
from defuse.core.verdicts import Cause

CANNOT_TELL = "cannot tell"
READINGS = (
    "released",
    "repaired",
)  # of their sheets the accepted regions are judged, which come first, and all of them
ANSWERS = {
    **dict.fromkeys(("regions", *READINGS), ("right", "wrong", CANNOT_TELL)),
    # What was wrong before any noise is measured, and cannot be seen.
    "mistakes": (*(cause for cause in Cause if cause not in (Cause.WRONG_BEFORE, Cause.RECONSTRUCTION)), CANNOT_TELL),
}
COLUMNS = ("sheet", "oracles", "by_eye", "count")


def sheet_digest(sheet: Path) -> str:
    """First twelve hex digits of the md5 of a contact sheet's data: what a judgement belongs to."""
    return hashlib.md5(sheet.read_bytes(), usedforsecurity=False).hexdigest()[:12]


def compare(path: Path, kind: str, sheet: Path, oracles: Shaped[np.ndarray, "items"]) -> pd.DataFrame:
    """Counts of each pair of what the oracles and a person say, as rows with COLUMNS.

    Empty where nobody has looked, or only at another sheet: a run with other parameters makes another one.

    Args:
        path: the person's judgements, a file of votes: its regions are the places on the sheet, from 0.
        kind: a key of ANSWERS; decides which are allowed.
        sheet: file of the contact sheet's data.
        oracles: as strings, what they say of each item to judge, in the order of the sheet: a region's verdict or a
            mistake's cause.

    Raises:
        StorageError: a file that cannot be read.
        VotesError: as `read_rows` and `check_rows`; a second judge; of READINGS, a place that is missing.
    """
    nothing = pd.DataFrame(columns=COLUMNS)
    if not path.exists():
        return nothing
    rows, digest = read_rows(path), sheet_digest(sheet)
    if {row.run for row in rows} != {digest}:
        return nothing
    check_rows(path, rows, digest, dict.fromkeys(range(len(oracles)), 1), ANSWERS[kind])
    if len(judges := {row.annotator for row in rows}) > 1:
        raise VotesError(f"{path}: annotators {', '.join(sorted(judges))}; allowed: one")
    places = [row.region for row in rows]
    # A share of some would depend on where the person stopped.
    if kind in READINGS and (missing := sorted(set(range(len(oracles))) - set(places))):
        raise VotesError(f"{path}: no judgement of region {', '.join(map(str, missing))}; allowed: all or none")
    pairs = pd.DataFrame({"sheet": kind, "oracles": oracles[places], "by_eye": [row.label for row in rows]})
    return pairs.groupby(list(COLUMNS[:3])).size().rename("count").reset_index()
