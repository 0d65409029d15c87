"""Random streams: every random source derives from (seed, stage, data set, purpose)."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt64

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Streams:
    """The random streams of one stage; each use adds the names of its purpose.

    Two different tuples of seed and names give independent streams; the same tuple always gives the same stream.

    Attributes:
        seed: 0 or more.
        names: of stage and data set.
    """

    seed: int
    names: tuple[str, ...] = ()

    def within(self, *names: str) -> "Streams":
        """The streams of one part of the stage."""
        return Streams(self.seed, (*self.names, *names))

    def sequence(self, *purpose: str) -> np.random.SeedSequence:
        """Seed sequence of a purpose: what every other stream is made from."""
        return np.random.SeedSequence([self.seed, *(zlib.crc32(name.encode()) for name in (*self.names, *purpose))])

    def numpy(self, *purpose: str) -> np.random.Generator:
        """NumPy generator of a purpose, at the start of its stream."""
        return np.random.default_rng(self.sequence(*purpose))

    def integer(self, *purpose: str) -> int:
        """32-bit seed for libraries that take an integer (scikit-learn's `random_state`)."""
        return int(self.sequence(*purpose).generate_state(1, np.uint32)[0])

    def key(self, *purpose: str) -> UInt64[np.ndarray, "2"]:
        """Key of the counter-based streams that `item_generator` gives single items."""
        return self.sequence(*purpose).generate_state(2, np.uint64)

    def torch(self, *purpose: str) -> "torch.Generator":
        """CPU generator of torch, at the start of the purpose's stream."""
        import torch

        return torch.Generator().manual_seed(self.integer(*purpose))

    @contextmanager
    def seeding_torch(self, *purpose: str) -> Iterator[None]:
        """Seed torch's global generator inside the block only: layers draw their initial weights from it."""
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(self.integer(*purpose))
            yield


def item_generator(key: UInt64[np.ndarray, "2"], index: int) -> np.random.Generator:
    """Counter-based generator of one item (a seed image), whatever batch the item falls into.

    Args:
        key: from `Streams.key`.
        index: the item's number, 0 or more.
    """
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
