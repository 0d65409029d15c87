"""What every stage's entry point shares: its command line, its paths, and its closing log line."""

import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import typer

from defuse.core.errors import ParamsError
from defuse.core.params import Settings
from defuse.core.params_file import load_params
from experiments.running.memory import memory_message, ran_out_of_memory

ARTIFACTS = Path("artifacts")


RESULTS = Path("results")


PARAMS = Path("params.yaml")


def data_file(dataset: str) -> Path:
    """The prepared arrays of a data set."""
    return ARTIFACTS / "prepare" / dataset / "data.npz"


def cell_folder(stage: str, dataset: str, seed: int) -> Path:
    """Output folder of a stage that runs per data set and seed."""
    return ARTIFACTS / stage / dataset / str(seed)


def checkpoint_folder(stage: str, dataset: str, seed: int | None = None) -> Path:
    """Folder of a stage's checkpoints; outside its outputs, which DVC removes before it runs."""
    folder = ARTIFACTS / "checkpoints" / stage / dataset
    return folder if seed is None else folder / str(seed)


def checked_params(stage: str, dataset: str | None, seed: int | None) -> Settings:
    """`params.yaml`, checked whole; `dataset` and `seed`, where the stage has them, checked against it.

    Raises:
        ParamsError: a bad value, or a stage asked to run for a data set or seed that `params.yaml` lacks.
    """
    settings = load_params(PARAMS)
    if dataset is not None and dataset not in settings.datasets:
        raise ParamsError(f"{stage}: data set {dataset!r}; allowed: {', '.join(settings.datasets)}")
    if seed is not None and seed not in settings.seeds:
        raise ParamsError(f"{stage}: seed {seed}; allowed: {', '.join(map(str, settings.seeds))}")
    return settings


def run(stage: str, work: Callable[..., str], dataset: str | None = None, seed: int | None = None) -> None:
    """Run a stage's work, log its closing line and time; known errors end it with their message alone."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    start = time.perf_counter()
    name = " ".join([stage, *([dataset] if dataset else []), *([] if seed is None else ["seed", str(seed)])])
    try:
        settings = checked_params(stage, dataset, seed)
        closing = work(settings, *(part for part in (dataset, seed) if part is not None))
        if dataset is not None:
            shutil.rmtree(checkpoint_folder(stage, dataset, seed), ignore_errors=True)
    except Exception as error:
        if ran_out_of_memory(error):
            raise SystemExit(f"{name}: {memory_message(settings, stage, dataset)}") from None
        if type(error).__module__.partition(".")[0] != "defuse":
            raise
        raise SystemExit(f"{name}: {error}") from None
    logging.info("%s: %s (%.1f s)", name, closing, time.perf_counter() - start)


def cell_command(stage: str, work: Callable[[Settings, str, int], str], help_text: str | None) -> None:
    """Command line of a stage per data set and seed: `python -m experiments.STAGE DATASET SEED`."""

    def command(
        dataset: str = typer.Argument(help="data set: digits, mnist, svhn or gtsrb"),
        seed: int = typer.Argument(help="seed, one of params.yaml's seeds"),
    ) -> None:
        run(stage, work, dataset, seed)

    command.__doc__ = help_text
    typer.run(command)


def dataset_command(stage: str, work: Callable[[Settings, str], str], help_text: str | None) -> None:
    """Command line of a stage per data set: `python -m experiments.STAGE DATASET`."""

    def command(dataset: str = typer.Argument(help="data set: digits, mnist, svhn or gtsrb")) -> None:
        run(stage, work, dataset)

    command.__doc__ = help_text
    typer.run(command)


def gathering_command(stage: str, work: Callable[[Settings], str], help_text: str | None) -> None:
    """Command line of a stage that runs once: `python -m experiments.STAGE`."""

    def command() -> None:
        run(stage, work)

    command.__doc__ = help_text
    typer.run(command)
