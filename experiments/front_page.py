"""Make the front page of the bug atlas: a bug of each data set, and the claims with their figures."""

from defuse.core.storage import read_table, write_text
from defuse.showing.atlas import front_page
from experiments.shared.cell import Cell
from experiments.shared.command import gathering_command


def make_page(cell: Cell) -> str:
    """Write the front page."""
    columns = ("claim", "statement", "data", "verdict", "rule", "values", "all_met", "all_judged")
    claims = read_table(cell.results / "claims.csv", *columns)
    page = front_page(claims, {dataset: cell.results / dataset / "tables" for dataset in cell.settings.datasets})
    write_text(cell.report / "index.html", page)
    return f"{len(cell.settings.datasets)} data sets; open {cell.report / 'index.html'} in a browser"


if __name__ == "__main__":
    gathering_command("front_page", make_page, __doc__)
