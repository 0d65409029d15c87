"""Run the cells of the replication on several machines with Ray, then gather here; no DVC stage (docs/cluster.md)."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from defuse.cluster import ClusterError, replicate
from defuse.params import ParamsError, load_params
from experiments.cell import PARAMS


def main(
    targets: Annotated[
        list[str] | None, typer.Argument(help="stages as for dvc repro, such as figures@mnist; everything if none")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="cells that run at once; default: as many as this machine's CPUs allow")
    ] = None,
    remote: Annotated[str | None, typer.Option(help="DVC remote that all machines reach; default: DVC's own")] = None,
    repository: Annotated[
        str | None, typer.Option(help="URL or folder that workers clone; default: origin, or this folder without one")
    ] = None,
) -> None:
    """Replicate on several machines: one cell (data set and seed) per worker, gathered here.

    Runs on a Ray of its own, or on the running cluster that RAY_ADDRESS names. docs/cluster.md has set-up and examples.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    logging.getLogger("dvc").propagate = False  # DVC prints its lines itself
    try:
        compute = load_params(PARAMS).compute
        failed = replicate(
            Path.cwd(), targets or (), workers=workers or max(1, (os.cpu_count() or 1) // compute.threads),
            threads=compute.threads, gpu=compute.device != "cpu", remote=remote, repository=repository,
        )  # fmt: skip
    except (ClusterError, ParamsError) as error:
        raise SystemExit(f"replicate_on_cluster: {error}") from None
    if failed:
        raise SystemExit("\n".join(["not replicated:", *(f"  {unit}: {why}" for unit, why in failed.items())]))


if __name__ == "__main__":
    typer.run(main)
