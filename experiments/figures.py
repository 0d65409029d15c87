"""Run the notebooks of a data set: figures and executed copies, only from results/."""

from defuse.core.storage import read_table
from defuse.evidence.results import result_path
from defuse.showing.notebooks import draw_figures
from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command


def draw(cell: Cell) -> str:
    """Write the executed notebooks and the figures."""
    folder = cell.results / cell.dataset
    executed = draw_figures(cell.tables, folder, with_studies=bool(cell.settings.study_seeds))
    drawn = len(list((folder / "figures").glob("*.png")))
    verdicts = read_table(result_path(cell.tables, "regions.csv"), "verdict").verdict
    return (
        f"{drawn} figures of {len(executed)} notebooks in {folder}; {(verdicts == 'accepted').sum()} accepted regions"
    )


if __name__ == "__main__":
    dataset_command("figures", draw, __doc__)
