"""The command line of the stages: it checks `params.yaml`, runs the work, and logs the closing line.

Nothing here can change what a stage writes, so a change here reruns none.
"""

import logging
import shutil
import sys
import time
from collections.abc import Callable

from defuse.core.errors import DefuseError, ParamsError
from defuse.core.params import Settings
from defuse.core.params_file import load_params
from experiments.running.memory import memory_message, ran_out_of_memory
from experiments.shared.cell import PARAMS, Cell

Work = Callable[[Cell], str]
# Stages that run for `study_seeds`; those of `seeds` are the main chain.
STUDIES = (
    "train_released_vae",
    "ablate_noise",
    "ablate_search",
    "ablate_vae",
    "ablate_regions",
    "compare_readings",
    "plant_bugs",
    "summarize_studies",
)


def checked_params(stage: str, dataset: str, seed: int | None) -> Settings:
    """`params.yaml`, checked whole; `dataset` and `seed`, where the stage has them, checked against it.

    Raises:
        ParamsError: a bad value, or a stage asked to run for a data set or seed that `params.yaml` lacks.
    """
    settings = load_params(PARAMS)
    if dataset and dataset not in settings.datasets:
        raise ParamsError(f"{stage}: data set {dataset!r}; allowed: {', '.join(settings.datasets)}")
    seeds = settings.study_seeds if stage in STUDIES else settings.seeds
    if seed is not None and seed not in seeds:
        raise ParamsError(f"{stage}: seed {seed}; allowed: {', '.join(map(str, seeds))}")
    return settings


def run(stage: str, work: Work, dataset: str = "", seed: int | None = None) -> None:
    """Run a stage's work, log its closing line and time; known errors end it with only their message."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    start = time.perf_counter()
    name = " ".join(filter(None, (stage, dataset, "" if seed is None else f"seed {seed}")))
    settings = None
    try:
        settings = checked_params(stage, dataset, seed)
        cell = Cell(settings, stage, dataset, seed)
        closing = work(cell)
        shutil.rmtree(cell.checkpoints, ignore_errors=True)
    except DefuseError as error:
        raise SystemExit(f"{name}: {error}") from None
    except Exception as error:
        if settings is None or not ran_out_of_memory(error):
            raise
        raise SystemExit(f"{name}: {memory_message(settings, stage, dataset)}") from None
    logging.info("%s: %s (%.1f s)", name, closing, time.perf_counter() - start)


def start(command: Callable[..., None], help_text: str | None) -> None:
    """Hand a command to typer."""
    import typer

    command.__doc__ = help_text
    typer.run(command)


def cell_command(stage: str, work: Work, help_text: str | None) -> None:
    """Command line of a stage per data set and seed: `python -m experiments.STAGE DATASET SEED`."""
    import typer

    seeds = "study_seeds" if stage in STUDIES else "seeds"

    def command(
        dataset: str = typer.Argument(help="data set, one of params.yaml's datasets"),
        seed: int = typer.Argument(help=f"seed, one of params.yaml's {seeds}"),
    ) -> None:
        run(stage, work, dataset, seed)

    start(command, help_text)


def dataset_command(stage: str, work: Work, help_text: str | None) -> None:
    """Command line of a stage per data set: `python -m experiments.STAGE DATASET`."""
    import typer

    def command(dataset: str = typer.Argument(help="data set, one of params.yaml's datasets")) -> None:
        run(stage, work, dataset)

    start(command, help_text)


def gathering_command(stage: str, work: Work, help_text: str | None) -> None:
    """Command line of a stage that runs once: `python -m experiments.STAGE`."""

    def command() -> None:
        run(stage, work)

    start(command, help_text)
