"""Write the result tables of README and docs/replication.md from results/ (`make readme`); no DVC stage."""

from pathlib import Path

from defuse.core.params_file import load_params
from defuse.core.storage import atomic_path
from defuse.showing.report import replication_block, results_block, with_results
from experiments.shared.cell import PARAMS, RESULTS


def write_block(page: Path, block: str) -> None:
    with atomic_path(page) as temporary:
        temporary.write_text(with_results(page.read_text(), block))


if __name__ == "__main__":
    datasets = list(load_params(PARAMS).datasets)
    write_block(Path("README.md"), results_block(RESULTS, datasets))
    write_block(Path("docs/replication.md"), replication_block(RESULTS, datasets))
