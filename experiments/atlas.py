"""Make a data set's page of the bug atlas, with copies of the figures that it and the front page show."""

import shutil

from defuse.core.params import Settings
from defuse.core.storage import atomic_path
from defuse.evidence.results import provenance
from defuse.showing.atlas import FIGURES, dataset_page
from experiments.shared.cell import RESULTS, dataset_command

REPORT = RESULTS / "report"


def make_page(settings: Settings, dataset: str) -> str:
    tables, copies = RESULTS / dataset / "tables", REPORT / dataset
    shutil.rmtree(copies, ignore_errors=True)
    for name in FIGURES:
        file = f"{provenance(tables)['slug']}_{name}.png"
        with atomic_path(copies / file) as temporary:
            shutil.copyfile(RESULTS / dataset / "figures" / file, temporary)
    page = dataset_page(tables, dataset)
    with atomic_path(REPORT / f"{dataset}.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return f"{len(page) / 1e6:.1f} MB and {len(FIGURES)} figures in {REPORT}"


if __name__ == "__main__":
    dataset_command("atlas", make_page, __doc__)
