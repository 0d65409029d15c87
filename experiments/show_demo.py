"""Print what the demonstration found, and the page to open (`make demo`); no DVC stage."""

from rich.console import Console
from rich.table import Table

from defuse.core.errors import DefuseError
from defuse.showing.demonstration import before_and_after, findings
from experiments.shared.cell import RESULTS

FOLDER = RESULTS / "demo"


def show(console: Console) -> None:
    """The findings, the accuracies before and after, and where to look.

    Raises:
        StorageError: the demonstration has not run.
    """
    tables = FOLDER / "digits" / "tables"
    table = Table(box=None, show_header=False, padding=(0, 2))
    for step, said in findings(tables):
        table.add_row(step, said)
    accuracies = Table("accuracy on", "fresh draws of the accepted regions", "original test set")
    for row in before_and_after(tables):
        accuracies.add_row(*row)
    console.print("\nDefuse on scikit-learn's digits, one seed:\n")
    console.print(table)
    console.print()
    console.print(accuracies)
    console.print(f"\nThe bugs, to look at in a browser:  {FOLDER / 'report' / 'digits.html'}", soft_wrap=True)
    console.print(f"Figures and tables:                 {FOLDER / 'digits'}/", soft_wrap=True)


if __name__ == "__main__":
    try:
        show(Console(highlight=False))
    except DefuseError as error:
        raise SystemExit(f"show_demo: {error}; run `make demo`") from None
