"""Write an archive of each recorded data set: networks, model cards, run cache (`make bundle`); no DVC stage."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from defuse.core.errors import DefuseError
from experiments.running.bundle import make_bundles

DATASETS = "data sets, those of params.yaml; default: all that are recorded whole"


def command(datasets: Annotated[list[str] | None, typer.Argument(help=DATASETS)] = None) -> None:
    """Write the archives and print where they are, with size and checksum."""
    try:
        archives, left_out = make_bundles(Path(), datasets or [])
    except DefuseError as error:
        raise SystemExit(f"bundle: {error}") from None
    for reason in left_out:
        print(f"bundle: left out: {reason}")
    for archive in archives:
        with open(archive, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        print(f"bundle: {archive}, {archive.stat().st_size / 2**20:.1f} MiB, sha256 {digest}")


if __name__ == "__main__":
    command.__doc__ = __doc__
    typer.run(command)
