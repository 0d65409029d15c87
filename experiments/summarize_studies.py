"""Copy the tables and measures of a cell's studies into results/, where git keeps them."""

from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.kept_tables import STUDY_MEASURES, STUDY_TABLES, keep_tables


def summarize_studies(cell: Cell) -> str:
    """Copy the tables of the studies."""
    folder = cell.results / cell.dataset / "studies" / str(cell.seed)
    keep_tables(cell, folder, STUDY_TABLES, STUDY_MEASURES)
    return f"{len(STUDY_TABLES)} tables and the measures of {', '.join(STUDY_MEASURES)} in {folder}"


if __name__ == "__main__":
    cell_command("summarize_studies", summarize_studies, __doc__)
