"""A person's judgement of the contact sheets beside the oracles': how far their annotation can be believed."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from defuse.core.errors import StorageError
from defuse.core.storage import read_table
from defuse.core.verdicts import Cause

CANNOT_TELL = "cannot tell"
READINGS = (
    "released",
    "repaired",
)  # of their sheets the accepted regions are judged, which come first, and all of them
JUDGEMENTS = {
    **dict.fromkeys(("regions", *READINGS), ("right", "wrong", CANNOT_TELL)),
    # What was wrong before any noise is measured, and cannot be seen.
    "mistakes": (*(cause for cause in Cause if cause not in (Cause.WRONG_BEFORE, Cause.RECONSTRUCTION)), CANNOT_TELL),
}


COLUMNS = ("sheet", "oracles", "by_eye", "count")


def sheet_digest(sheet: Path) -> str:
    """First twelve hex digits of the md5 of a contact sheet's data: what a judgement belongs to."""
    return hashlib.md5(sheet.read_bytes(), usedforsecurity=False).hexdigest()[:12]


def check_judgements(table: pd.DataFrame, path: Path, kind: str, count: int) -> None:
    """Check a person's judgements: one row per `position` on the sheet, from 0, with `by_eye`.

    Args:
        table: the judgements.
        path: their file, for the message.
        kind: a key of JUDGEMENTS; decides which judgements are allowed.
        count: items to judge on the sheet.

    Raises:
        StorageError: a judgement that is not allowed, a position that is not on the sheet or comes twice; of READINGS,
            a position that is missing: a share of some would depend on where the person stopped.
    """
    for value in table.by_eye[~table.by_eye.isin(JUDGEMENTS[kind])]:
        raise StorageError(f"{path}: by_eye is {value!r}; allowed: {', '.join(JUDGEMENTS[kind])}")
    for value in table.position[table.position.duplicated() | ~table.position.isin(range(count))]:
        raise StorageError(f"{path}: position {value}; allowed: 0 to {count - 1}, each once")
    if kind in READINGS and len(table) < count:
        missing = sorted(set(range(count)) - set(table.position))
        raise StorageError(f"{path}: no judgement of position {', '.join(map(str, missing))}; allowed: all or none")


def compare(path: Path, kind: str, sheet: Path, oracles: Shaped[np.ndarray, "items"]) -> pd.DataFrame:
    """Counts of each pair of what the oracles and a person say, as rows with COLUMNS.

    Empty where nobody has looked, or only at another sheet: a run with other parameters makes another one.

    Args:
        path: the person's judgements.
        kind: a key of JUDGEMENTS.
        sheet: file of the contact sheet's data.
        oracles: as strings, what they say of each item to judge, in the order of the sheet: a region's verdict or a
            mistake's cause.

    Raises:
        StorageError: as `check_judgements`.
    """
    nothing = pd.DataFrame(columns=COLUMNS)
    if not path.exists():
        return nothing
    table = read_table(path, "digest", "position", "by_eye")
    if set(table.digest) != {sheet_digest(sheet)}:
        return nothing
    check_judgements(table, path, kind, len(oracles))
    pairs = pd.DataFrame({"sheet": kind, "oracles": oracles[table.position], "by_eye": table.by_eye})
    return pairs.groupby(list(COLUMNS[:3])).size().rename("count").reset_index()
