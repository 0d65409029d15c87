"""Copy the tables and measures of a cell's studies into results/, where git keeps them."""

from defuse.core.storage import read_table, write_table
from defuse.evidence.results import result_path
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.kept_tables import SHARED_MEASURES, STUDY_MEASURES, STUDY_TABLES, keep_tables


def summarize_studies(cell: Cell) -> str:
    """Copy the tables of the studies."""
    folder = cell.results / cell.dataset / "studies" / str(cell.seed)
    keep_tables(cell, folder, STUDY_TABLES, STUDY_MEASURES, SHARED_MEASURES)
    curve = read_table(cell.dataset_folder("train_checker") / "curve.csv")
    write_table(result_path(folder, "checker_curve.csv"), curve)
    measured = ", ".join(SHARED_MEASURES + STUDY_MEASURES)
    return f"{len(STUDY_TABLES) + 1} tables and the measures of {measured} in {folder}"


if __name__ == "__main__":
    cell_command("summarize_studies", summarize_studies, __doc__)
