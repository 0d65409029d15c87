"""The clearest bug among the accepted regions of a cell."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from defuse.core.params import DESCRIBED, RELEASED, REPAIRED
from defuse.core.verdicts import RegionVerdict

if TYPE_CHECKING:
    import pandas

# On what a reading's regions fail: fresh draws of them, or members that nobody was shown.
FAILURE = {DESCRIBED: "failure_rate", RELEASED: "draw_failure", REPAIRED: "member_failure"}


def clearness(regions: "pandas.DataFrame", reading: str) -> "pandas.Series":
    """Agreement of the annotators times failure rate (`FAILURE`) of each region; 0 where no failure was measured."""
    return (regions.agreement * regions[FAILURE[reading]]).astype(float).fillna(0).round(9)


def clearest_bug(regions: "pandas.DataFrame", reading: str) -> "pandas.Series | None":
    """The accepted region of the greatest `clearness`; None where none was accepted.

    Between equals it is the one with the greater share of the mistakes, then the one with the smaller number.
    """
    accepted = regions[regions.verdict == RegionVerdict.ACCEPTED]
    if accepted.empty:
        return None
    order = ["clearness", "share_of_mistakes", "region"]
    ranked = accepted.assign(clearness=clearness(accepted, reading)).sort_values(order, ascending=[False, False, True])
    return ranked.iloc[0]


def clearest_first(
    numbers: Int64[np.ndarray, "chosen"], regions: "pandas.DataFrame", reading: str
) -> Int64[np.ndarray, "chosen"]:
    """Places in `numbers`, which name regions, in their order but for the clearest bug's, which comes first."""
    bug = clearest_bug(regions, reading)
    return np.argsort(numbers != (-1 if bug is None else bug.region), kind="stable")
