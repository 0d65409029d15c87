"""Check an archive of `make bundle` and put back what it holds (`make unbundle FILE=...`); no DVC stage."""

from pathlib import Path
from typing import Annotated

import typer

from defuse.core.errors import DefuseError
from experiments.running.unbundle import unbundle

FILE = "the archive, for example artifacts/bundles/defuse_mnist.tar"


def command(file: Annotated[str, typer.Argument(help=FILE)]) -> None:
    """Put the archive back and say what `dvc repro` will do."""
    if not file:
        raise SystemExit("unbundle: no archive is named: make unbundle FILE=artifacts/bundles/defuse_mnist.tar")
    try:
        content, advice = unbundle(Path(), Path(file))
    except DefuseError as error:
        raise SystemExit(f"unbundle: {error}") from None
    print(
        f"unbundle: outputs of {len(content.stages)} stages of {content.dataset} are in their places, "
        f"model cards in artifacts/cards/{content.dataset}. {advice}"
    )


if __name__ == "__main__":
    command.__doc__ = __doc__
    typer.run(command)
