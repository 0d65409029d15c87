"""Seconds and ratios, measured in turns so that a busy moment of the machine touches both sides."""

import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call; a GPU's queue is empty before and after."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(rounds: int, *works: Callable[[], object]) -> np.ndarray:
    """Seconds (rounds, works) of calling each work once per round, after one round that is not counted."""
    table = [[seconds(work) for work in works] for _ in range(rounds + 1)]
    return np.array(table[1:])


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> str:
    """Median of paired ratios (rounds,), with the smallest and the largest."""
    parts = numerator / denominator
    return f"{np.median(parts):.2f} ({parts.min():.2f} to {parts.max():.2f})"


def exponent(sizes: list[int], durations: list[float]) -> str:
    """Power with which a duration grows with a size (1 is linear), by a straight line through the logarithms."""
    fit = stats.linregress(np.log(sizes), np.log(durations))
    return f"{fit.slope:.2f} (r² {fit.rvalue**2:.3f})"
