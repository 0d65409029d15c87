"""Write the result tables of README and docs/first-runs.md from results/ (`make readme`); no DVC stage."""

from pathlib import Path

from defuse.params_file import load_params
from defuse.report import results_block, trial_table, with_results
from defuse.storage import atomic_path
from experiments.cell import PARAMS, RESULTS


def write_block(page: Path, block: str) -> None:
    with atomic_path(page) as temporary:
        temporary.write_text(with_results(page.read_text(), block))


if __name__ == "__main__":
    write_block(Path("README.md"), results_block(RESULTS, list(load_params(PARAMS).datasets)))
    write_block(Path("docs/first-runs.md"), trial_table(RESULTS / "mnist" / "tables"))
