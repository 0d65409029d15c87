"""Run the cells of the replication side by side on this machine (`make replicate`); no DVC stage."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from defuse.core.errors import ParamsError, PipelineError, ReplicationError
from defuse.core.params_file import load_params
from experiments.running.pipeline import TARGETS
from experiments.running.replication import replicate
from experiments.shared.cell import PARAMS

JOBS = "stages at once: a number, or auto for as many as cores and memory allow"


def command(
    targets: Annotated[list[str] | None, typer.Argument(help=TARGETS)] = None,
    jobs: Annotated[str, typer.Option(help=JOBS)] = "auto",
) -> None:
    """Run the cells and end with the status."""
    try:
        status = replicate(Console(), Path(), load_params(PARAMS).compute, targets or [], jobs)
    except (ParamsError, PipelineError, ReplicationError) as error:
        raise SystemExit(f"replicate: {error}") from None
    raise SystemExit(status)


if __name__ == "__main__":
    command.__doc__ = __doc__
    typer.run(command)
