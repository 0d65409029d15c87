"""Make a data set's page of the bug atlas, with copies of the figures that it and the front page show."""

import shutil

from defuse.core.storage import atomic_path, write_text
from defuse.evidence.results import provenance
from defuse.showing.atlas import FIGURES, STUDY_FIGURES, dataset_page
from experiments.shared.cell import RESULTS, Cell
from experiments.shared.command import dataset_command


def make_page(cell: Cell) -> str:
    """Write the page of the cell's data set, and copy its figures beside it."""
    tables, copies = cell.tables, cell.report / cell.dataset
    figures = FIGURES + (STUDY_FIGURES if cell.settings.study_seeds else ())
    shutil.rmtree(copies, ignore_errors=True)
    for name in figures:
        file = f"{provenance(tables)['slug']}_{name}.png"
        with atomic_path(copies / file) as temporary:
            shutil.copyfile(cell.results / cell.dataset / "figures" / file, temporary)
    page = dataset_page(tables, cell.dataset, figures, front_page=cell.results == RESULTS)
    write_text(cell.report / f"{cell.dataset}.html", page)
    return f"{len(page) / 1e6:.1f} MB and {len(figures)} figures in {cell.report}"


if __name__ == "__main__":
    dataset_command("atlas", make_page, __doc__)
