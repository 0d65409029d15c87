"""Run the notebooks of a data set: figures and executed copies, from results/ alone."""

from pathlib import Path

from tqdm import tqdm

from defuse.core.storage import read_table
from defuse.evidence.results import provenance, result_path
from defuse.showing.notebooks import run_notebook
from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command


def draw(cell: Cell) -> str:
    folder = cell.results / cell.dataset
    tables = folder / "tables"
    slug = provenance(tables)["slug"]
    sources = sorted(Path("notebooks").glob("*.ipynb"))
    for source in tqdm(sources, desc=str(cell), disable=None, leave=False):
        figure = folder / "figures" / f"{slug}_{source.stem}.png"
        parameters = {"tables": tables.as_posix(), "figure_file": figure.as_posix()}
        run_notebook(source, folder / "notebooks" / f"{slug}_{source.stem}.ipynb", parameters)
    verdicts = read_table(result_path(tables, "regions.csv"), "verdict").verdict
    return f"{len(sources)} figures in {folder / 'figures'}; {(verdicts == 'accepted').sum()} accepted regions"


if __name__ == "__main__":
    dataset_command("figures", draw, __doc__)
