"""Write the result tables of README and docs/replication.md from results/ (`make readme`); no DVC stage."""

from pathlib import Path

from defuse.core.errors import DefuseError
from defuse.core.params_file import load_params
from defuse.core.storage import atomic_path
from defuse.showing.report import replication_block, results_block, with_results
from experiments.shared.cell import PARAMS, RESULTS


def write_block(page: Path, block: str) -> None:
    """Put `block` between the markers of a page."""
    text = with_results(page.read_text(encoding="utf-8"), block)
    with atomic_path(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_pages() -> None:
    """Write both pages' tables anew."""
    datasets = list(load_params(PARAMS).datasets)
    write_block(Path("README.md"), results_block(RESULTS, datasets))
    write_block(Path("docs/replication.md"), replication_block(RESULTS, datasets))


if __name__ == "__main__":
    try:
        write_pages()
    except (DefuseError, OSError) as error:
        raise SystemExit(f"readme: {error}") from None
