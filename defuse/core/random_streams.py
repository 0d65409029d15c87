"""Seeds: every random source derives from (seed, stage, data set, purpose)."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_sequence(seed: int, *names: str) -> np.random.SeedSequence:
    """Seed sequence of what is drawn: `seed` and the names of stage, data set and purpose.

    Two different tuples of names give independent streams; the same tuple always gives the same stream.
    """
    return np.random.SeedSequence([seed, *(zlib.crc32(name.encode()) for name in names)])


def numpy_generator(seed: int, *names: str) -> np.random.Generator:
    """NumPy generator of the stream that `seed` and `names` stand for."""
    return np.random.default_rng(seed_sequence(seed, *names))


def integer_seed(seed: int, *names: str) -> int:
    """32-bit seed for libraries that take an integer (scikit-learn's `random_state`)."""
    return int(seed_sequence(seed, *names).generate_state(1, np.uint32)[0])


def torch_generator(seed: int, *names: str) -> torch.Generator:
    """CPU generator of torch for the stream that `seed` and `names` stand for."""
    return torch.Generator().manual_seed(integer_seed(seed, *names))


@contextmanager
def seeded_torch(seed: int, *names: str) -> Iterator[None]:
    """Seed torch's global generator inside the block only: layers draw their initial weights from it."""
    with torch.random.fork_rng():
        torch.manual_seed(integer_seed(seed, *names))
        yield


def item_generator(key: np.ndarray, index: int) -> np.random.Generator:
    """Counter-based generator of one item (a seed image), whatever batch the item falls into.

    Args:
        key: uint64 (2,), drawn once from a `seed_sequence`.
        index: the item's number, 0 or more.
    """
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
