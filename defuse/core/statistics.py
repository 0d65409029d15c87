"""Shares and their intervals."""

import numpy as np
from jaxtyping import Bool


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
