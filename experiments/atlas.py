"""Make a data set's page of the bug atlas, with copies of the figures that it and the front page show."""

import shutil

from defuse.core.storage import atomic_path
from defuse.evidence.results import provenance
from defuse.showing.atlas import FIGURES, dataset_page
from experiments.shared.cell import Cell
from experiments.shared.command import dataset_command


def make_page(cell: Cell) -> str:
    tables, copies = cell.tables, cell.report / cell.dataset
    shutil.rmtree(copies, ignore_errors=True)
    for name in FIGURES:
        file = f"{provenance(tables)['slug']}_{name}.png"
        with atomic_path(copies / file) as temporary:
            shutil.copyfile(cell.results / cell.dataset / "figures" / file, temporary)
    page = dataset_page(tables, cell.dataset)
    with atomic_path(cell.report / f"{cell.dataset}.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return f"{len(page) / 1e6:.1f} MB and {len(FIGURES)} figures in {cell.report}"


if __name__ == "__main__":
    dataset_command("atlas", make_page, __doc__)
