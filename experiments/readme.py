"""Write README's result tables from results/ (`make readme`); no DVC stage, since README is no output."""

from pathlib import Path

from defuse.params import load_params
from defuse.report import results_block, with_results
from defuse.storage import atomic_path
from experiments.cell import PARAMS, RESULTS


def write_readme(readme: Path) -> None:
    block = results_block(RESULTS, list(load_params(PARAMS).datasets))
    with atomic_path(readme) as temporary:
        temporary.write_text(with_results(readme.read_text(), block))


if __name__ == "__main__":
    write_readme(Path("README.md"))
