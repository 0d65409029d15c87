"""What the demonstration found, in words: the closing table of `make demo`."""

from pathlib import Path

from defuse.core.storage import read_table
from defuse.core.verdicts import Cause, RegionVerdict
from defuse.evidence.results import measures_by_seed, result_path
from defuse.showing.report import OUTCOMES, shown

SHOWN_BUGS = 3
DATA = ("region_test", "test")


def measures(tables: Path) -> dict[str, float]:
    """Value of each measure of a run with one seed, by `stage.measure`."""
    return {name: values.iloc[0] for name, values in measures_by_seed(tables).items()}


def findings(tables: Path) -> list[tuple[str, str]]:
    """What was done and what came out of it, one line per step.

    Args:
        tables: folder of a data set's tables, of one seed.

    Raises:
        StorageError: a table is missing or damaged.
    """
    found, causes = measures(tables), read_table(result_path(tables, "causes.csv"), "cause", "share")
    own = causes.share[causes.cause == Cause.CLASSIFIER_MISTAKE].iloc[0]
    regions = read_table(result_path(tables, "regions.csv"), "label", "prediction", "verdict", "share_of_mistakes")
    accepted = regions[regions.verdict == RegionVerdict.ACCEPTED].sort_values("share_of_mistakes", ascending=False)
    named = ", ".join(f"{bug.label} taken for {bug.prediction}" for bug in accepted.head(SHOWN_BUGS).itertuples())
    bugs = f"; the largest: {named}" if named else ""
    kept = found["identify.reconstruction_accuracy_of_correct"]
    return [
        ("classifier", f"a small, weak one: right on {found['train_classifier.test_accuracy']:.1%} of the test images"),
        ("autoencoder", f"{kept:.1%} of the images that the classifier gets right stay right when reconstructed"),
        (
            "identification",
            f"{found['identify.mistakes']:,.0f} mistakes around {found['identify.seed_images']:,.0f} training images; "
            f"annotators call {own:.0%} of them the classifier's own",
        ),
        ("distillation", f"{found['distill.regions']:.0f} regions of mistakes that are alike"),
        ("annotation", f"{len(accepted)} of them accepted as bugs{bugs}"),
    ]


def before_and_after(tables: Path) -> list[tuple[str, str, str]]:
    """Accuracy on fresh draws of the accepted regions and on the original test set, a row for each of OUTCOMES.

    Args:
        tables: folder of a data set's tables, of one seed.

    Raises:
        StorageError: a table is missing or damaged.
    """
    found = measures(tables)
    values = ((words, [found[f"outcome.{data}_{when}"] for data in DATA]) for when, words in OUTCOMES.items())
    return [(words, shown("{:.1%}", regions), shown("{:.1%}", test)) for words, (regions, test) in values]
