"""Copy a cell's tables and measures into results/, where git keeps them: seeds can be run at different times."""

from defuse.core.storage import read_table, write_table
from defuse.evidence.results import result_path
from experiments.shared.cell import Cell
from experiments.shared.command import cell_command
from experiments.shared.kept_tables import CHAIN_MEASURES, CHAIN_TABLES, keep_tables


def summarize_cell(cell: Cell) -> str:
    """Copy the tables of the main chain."""
    folder = cell.results / cell.dataset / "cells" / str(cell.seed)
    keep_tables(cell, folder, CHAIN_TABLES, CHAIN_MEASURES)
    oracles = read_table(cell.dataset_folder("calibrate_oracle") / "oracles.csv")
    write_table(result_path(folder, "oracles.csv"), oracles)
    return f"{len(CHAIN_TABLES) + 1} tables and the measures of {len(CHAIN_MEASURES)} stages in {folder}"


if __name__ == "__main__":
    cell_command("summarize_cell", summarize_cell, __doc__)
