"""Run the whole chain on scikit-learn's digits, one seed, in one process: the demonstration (`make demo`)."""

import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

from rich.console import Console

from experiments import (
    annotate,
    atlas,
    calibrate_oracle,
    compare_by_eye,
    correct,
    distill,
    figures,
    finetune_baseline,
    identify,
    novelty,
    prepare,
    show_regions,
    summarize,
    summarize_cell,
    train_classifier,
    train_features,
    train_oracle,
    train_vae,
    vote,
)
from experiments.shared.cell import Cell
from experiments.shared.command import gathering_command

DATASET = "digits"
# Stage, its work, and whether it runs for a seed; in their order.
CHAIN: tuple[tuple[str, Callable[[Cell], str], bool], ...] = (
    ("prepare", prepare.prepare, False),
    ("train_classifier", train_classifier.train, True),
    ("train_features", train_features.train, False),
    ("train_vae", train_vae.train, True),
    ("train_oracle", train_oracle.train, False),
    ("calibrate_oracle", calibrate_oracle.calibrate, False),
    ("identify", identify.identify, True),
    ("distill", distill.distill, True),
    ("show_regions", show_regions.show_regions, True),
    ("vote", vote.vote, True),
    ("annotate", annotate.annotate, True),
    ("correct", correct.sweep, True),
    ("finetune_baseline", finetune_baseline.baseline, True),
    ("novelty", novelty.novelty, True),
    ("summarize_cell", summarize_cell.summarize_cell, True),
    ("summarize", summarize.summarize, False),
    ("compare_by_eye", compare_by_eye.tally, False),
    ("figures", figures.draw, False),
    ("atlas", atlas.make_page, False),
)


BESIDE = "train_oracle"  # it needs the prepared data alone, and trains while the classifier and the VAE do


def demonstrate(cell: Cell) -> str:
    """Run the chain, step by step; the annotators' networks are trained in a second process."""
    seed = cell.settings.seeds[0]
    settings = cell.settings.model_copy(update={"datasets": (DATASET,), "seeds": (seed,), "study_seeds": ()})
    artifacts, results = cell.artifacts / cell.stage, cell.results / cell.stage
    console = Console(highlight=False, soft_wrap=True)
    oracles = None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as second_process:
        for number, (stage, work, with_seed) in enumerate(CHAIN, start=1):
            step = Cell(settings, stage, DATASET, seed if with_seed else None, artifacts, results)
            closing = oracles.result() if oracles and stage == BESIDE else work(step)
            console.print(f"{number} of {len(CHAIN)}  {stage}: {closing}", markup=False)
            if oracles is None:
                oracles = second_process.submit(train_oracle.train, replace(step, stage=BESIDE, seed=None))
    shutil.rmtree(artifacts / "checkpoints", ignore_errors=True)
    return f"open {results / 'report' / f'{DATASET}.html'} in a browser"


if __name__ == "__main__":
    gathering_command("demo", demonstrate, __doc__)
