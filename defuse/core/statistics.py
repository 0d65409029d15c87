"""Shares and medians with their intervals, and the sign test over seeds."""

import numpy as np
from jaxtyping import Bool, Float64


def wilson_interval(successes: float, count: int) -> tuple[float, float]:
    """95 % Wilson interval of a share; (NaN, NaN) for no observation."""
    if count == 0:
        return float("nan"), float("nan")
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, count, method="wilson")
    return float(low), float(high)


def share(part: Bool[np.ndarray, "items"], whole: Bool[np.ndarray, "items"]) -> float:
    """Share of `whole` for which `part` is true; NaN where `whole` is nowhere true."""
    return float(part[whole].mean()) if whole.any() else float("nan")


def median_interval(values: Float64[np.ndarray, "seeds"]) -> tuple[float, float, float]:
    """Median of the values that are not NaN, with its distribution-free 95 % interval.

    The interval reaches from one of the values to another, so it never leaves their range. It is NaN with fewer than
    six values, of which no pair encloses the median with so much certainty; all is NaN without any.
    """
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return float("nan"), float("nan"), float("nan")
    from scipy.stats import quantile_test

    low, high = quantile_test(values, p=0.5).confidence_interval(confidence_level=0.95)
    return float(np.median(values)), float(low), float(high)


def sign_test(met: int, cells: int) -> bool | None:
    """Whether the typical cell meets a bound, of `cells` judged cells of which `met` do; None where it stays open.

    True where a one-sided sign test at 5 % says that more than half of all cells would meet it, False where the same
    test says so of the opposite: 5 of 5, 7 of 7, 7 of 8, 9 of 10; four cells decide nothing.
    """
    from scipy.stats import binomtest

    def shown(times: int) -> bool:
        return cells > 0 and binomtest(times, cells, alternative="greater").pvalue <= 0.05

    return True if shown(met) else False if shown(cells - met) else None
