"""Run the cells of the replication on several machines with Ray, then gather here; no DVC stage.

Runs on a Ray of its own, or on the running cluster that RAY_ADDRESS names. docs/cluster.md has set-up and examples.
"""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from defuse.core.errors import ClusterError, ParamsError, PipelineError, ReplicationError
from defuse.core.params_file import load_params
from experiments.running.cluster import replicate_on_cluster
from experiments.running.pipeline import TARGETS
from experiments.running.replication import jobs_at_once
from experiments.shared.cell import PARAMS

WORKERS = "cells that run at once; default: as many as this machine's cores and memory allow"
REMOTE = "DVC remote that all machines reach; default: DVC's own"
REPOSITORY = "URL or folder that workers clone; default: origin, or this folder without one"


def command(
    targets: Annotated[list[str] | None, typer.Argument(help=TARGETS)] = None,
    workers: Annotated[int | None, typer.Option(min=1, help=WORKERS)] = None,
    remote: Annotated[str | None, typer.Option(help=REMOTE)] = None,
    repository: Annotated[str | None, typer.Option(help=REPOSITORY)] = None,
) -> None:
    """Run the cells and end with the status."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    logging.getLogger("dvc").propagate = False  # DVC prints its lines itself
    try:
        compute = load_params(PARAMS).compute
        failed = replicate_on_cluster(
            Path(),
            targets or [],
            workers=workers or jobs_at_once("auto", compute)[0],
            threads=compute.threads,
            gpu=compute.device != "cpu",
            remote=remote,
            repository=repository,
        )
    except (ClusterError, ParamsError, PipelineError, ReplicationError) as error:
        raise SystemExit(f"replicate_on_cluster: {error}") from None
    if failed:
        raise SystemExit("\n".join(["not replicated:", *(f"  {unit}: {why}" for unit, why in failed.items())]))


if __name__ == "__main__":
    command.__doc__ = __doc__
    typer.run(command)
