"""Make the front page of the bug atlas: a bug of each data set, and the claims with their figures."""

from defuse.core.params import Settings
from defuse.core.storage import atomic_path, read_table
from defuse.showing.atlas import front_page
from experiments.shared.cell import RESULTS, gathering_command

REPORT = RESULTS / "report"


def make_page(settings: Settings) -> str:
    claims = read_table(RESULTS / "claims.csv", "claim", "statement", "data", "verdict", "rule", "value")
    page = front_page(claims, {dataset: RESULTS / dataset / "tables" for dataset in settings.datasets})
    with atomic_path(REPORT / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return f"{len(settings.datasets)} data sets; open {REPORT / 'index.html'} in a browser"


if __name__ == "__main__":
    gathering_command("front_page", make_page, __doc__)
