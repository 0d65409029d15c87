"""How time grows: of the search with seed images, draws and latent dimensions; of the mixture with codes and K."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.search import search
from benchmarks.subjects import loaded
from benchmarks.timing import exponent, in_turns
from defuse.core.params import Settings
from defuse.method.distillation import fit_regions
from defuse.models.machine import Machine
from defuse.showing.report import markdown

SEED_IMAGES, DRAWS, LATENT_DIMS = [250, 500, 1000, 2000], [10, 20, 40, 80], [8, 16, 32, 64]
CODES, COMPONENTS = [1000, 2000, 4000, 8000], [10, 20, 40, 80]
ROUNDS, ITERATIONS = 3, 10


def row(name: str, sizes: list[int], work: Callable[[int], Callable[[], object]]) -> list[str]:
    """One line of a growth table: the sizes, the seconds of each, the exponent; seconds are the best of the rounds."""
    durations = list(in_turns(ROUNDS, *(work(size) for size in sizes)).min(axis=0))
    return [
        name,
        ", ".join(f"{size:,}" for size in sizes),
        ", ".join(f"{taken:.2f}" for taken in durations),
        f"{durations[-1] / durations[0]:.1f}",
        exponent(sizes, durations),
    ]


def search_growth(settings: Settings, machine: Machine) -> Iterator[str]:
    """(d) Seconds of the search of MNIST's size."""

    def work(seed_images: int = 500, draws: int = 20, latent_dim: int = 10) -> Callable[[], object]:
        of_size = settings.train_vae["mnist"].model_copy(update={"latent_dim": latent_dim})
        changed = settings.model_copy(update={"train_vae": {**settings.train_vae, "mnist": of_size}})
        subject, seeds = loaded(changed, "mnist", machine, seed_images)
        return partial(search, subject, seeds, draws)

    rows = [
        row("seed images (20 draws)", SEED_IMAGES, lambda size: work(seed_images=size)),
        row("draws (500 seed images)", DRAWS, lambda size: work(draws=size)),
        row("latent dimensions (500 seed images, 20 draws)", LATENT_DIMS, lambda size: work(latent_dim=size)),
    ]
    yield markdown(["search against", "sizes", "seconds", "last / first", "exponent"], rows)


def mixture_growth(settings: Settings, machine: Machine) -> Iterator[str]:
    """(e) Seconds of ten iterations of the mixture's fit, in 16 dimensions."""
    # Without clusters no fit converges early, so all do the same number of iterations.
    points = np.random.default_rng(0).standard_normal((max(CODES), 16)).astype(np.float32)

    def work(codes: int = 4000, components: int = 20) -> Callable[[], object]:
        chosen = settings.distill["mnist"].model_copy(
            update={"fit_codes": codes, "components": components, "max_iterations": ITERATIONS}
        )
        return partial(fit_regions, points[:codes], chosen, 0)

    rows = [
        row("codes (K = 20)", CODES, lambda size: work(codes=size)),
        row("K (4,000 codes)", COMPONENTS, lambda size: work(components=size)),
    ]
    yield markdown(["mixture against", "sizes", "seconds", "last / first", "exponent"], rows)
