"""Gathering cells: tidy tables over seeds, and medians with their intervals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from defuse.core.errors import SummaryError
from defuse.core.params import DESCRIBED, RELEASED, REPAIRED
from defuse.core.statistics import median_interval
from defuse.core.storage import read_json, read_table
from defuse.core.verdicts import RegionVerdict
from defuse.evidence.results import provenance, result_path

# Tables whose every number becomes a measure: what the arms are, and the columns that name an arm.
ARMS = {
    "noise": ("noise", "noise"),
    "causes": ("cause", "cause"),
    "searches": ("search", "search"),
    "vaes": ("VAE", "vae"),
    "taus": ("tau", "tau"),
    "mixtures": ("mixture", "components", "prior"),
    "rivals": ("rival", "arm"),
    "readings": ("reading", "reading"),
}
# Measures that `metrics.json` holds, for `dvc metrics show`.
HEADLINES = (
    "train_classifier.test_accuracy",
    "identify.reconstruction_accuracy_of_correct",
    "identify.mistakes",
    "distill.regions",
    "annotate.accepted_regions",
    "outcome.test_before",
    "outcome.test_after_correction",
    "outcome.region_test_before",
    "outcome.region_test_after_correction",
    "outcome.test_after_control",
    "outcome.region_test_after_control",
    "outcome.test_after_baseline",
    "outcome.region_test_after_baseline",
    "novelty.new_type",
    "novelty.new_type_of_test_errors",
    "plant_bugs.found",
    "plant_bugs.found_in_control",
    "reading released.accepted",
    "reading repaired.accepted",
    "readings.discoveries_released",
    "readings.no_label_above_single_labels",
)
READINGS = (RELEASED, DESCRIBED, REPAIRED)
# Accuracy on the unseen mistakes of each reading's search, with the annotators' labels.
UNSEEN_MISTAKES = tuple(f"{reading}_mistakes_accuracy" for reading in READINGS)


def check_cells(cells: Path, seeds: Sequence[int], data: dict[str, object] | None = None) -> dict[str, object]:
    """Check that a folder holds exactly the cells that `params.yaml` asks for, all of the same data: what these are.

    Args:
        cells: a data set's folder of summarized cells, one sub-folder per seed.
        seeds: what `params.yaml` asks for.
        data: provenance that they must have; None for that of the first.

    Raises:
        SummaryError: naming every missing and every extra cell, or those made from other data than the first.
    """
    found = {path.name for path in cells.iterdir() if path.is_dir()} if cells.is_dir() else set()
    expected = {str(seed) for seed in seeds}
    problems = [f"missing: {cells / name}" for name in sorted(expected - found)]
    problems += [f"not in params.yaml, remove it: {cells / name}" for name in sorted(found - expected)]
    if problems:
        raise SummaryError("cells differ from params.yaml's seeds: " + "; ".join(problems))
    about = {seed: provenance(cells / str(seed)) for seed in seeds}
    for each in about.values():
        each.pop("machines", None)  # cells of one data set may be computed on different ones
    expected_data = data or about[seeds[0]]
    others = [str(cells / str(seed)) for seed in seeds if about[seed] != expected_data]
    if others:
        first = cells.with_name("cells") / str(seeds[0])
        raise SummaryError(f"made from other data than {first}, run them again: {', '.join(others)}")
    return expected_data


def gather_table(cells: Path, seeds: Sequence[int], name: str, *columns: str) -> pd.DataFrame:
    """One table of all seeds, with the seed as first column.

    Raises:
        StorageError: a seed's table is missing, damaged, or lacks one of `columns`.
    """
    parts = []
    for seed in seeds:
        table = read_table(result_path(cells / str(seed), name), *columns)
        table.insert(0, "seed", seed)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def gather_measures(cells: Path, seeds: Sequence[int]) -> pd.DataFrame:
    """Tidy table seed, stage, measure, value of the numbers in every cell's `measures.json`."""
    rows = []
    for seed in seeds:
        for stage, measures in read_json(result_path(cells / str(seed), "measures.json")).items():
            for measure, value in measures.items():
                if value is None or isinstance(value, int | float):
                    number = np.nan if value is None else float(value)
                    rows.append({"seed": seed, "stage": stage, "measure": measure, "value": number})
    return pd.DataFrame(rows, columns=["seed", "stage", "measure", "value"])


def outcome_measures(sweep: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """What correction and baseline did, per seed, as rows seed, stage, measure, value.

    `control` is lambda = 0: gains of correction are reported relative to it as well as to before. Where regions were
    accepted and every arm diverged, no network is usable and the classifier stays as it was.

    Args:
        sweep: all seeds' arms, with columns arm, lambda, chosen and accuracies.
        baseline: the same with learning_rate in place of lambda.
    """
    rows = []
    for seed, arms in sweep.groupby("seed"):
        before = arms[arms.arm == "before"].iloc[0]
        arms_of_baseline = baseline[(baseline.seed == seed) & baseline.chosen.astype(bool)]
        after = {
            "control": arms[arms["lambda"] == 0],
            "baseline": arms_of_baseline,
            "correction": arms[arms.chosen.astype(bool)],
        }
        values = {"test_before": before.test_accuracy, "region_test_before": before.region_test_accuracy}
        for name, arm in after.items():
            tried = baseline[baseline.seed == seed] if name == "baseline" else arms[arms["lambda"] >= 0]
            usable = before if len(tried) and tried.diverged.all() else arm.iloc[0] if len(arm) else None
            values[f"test_after_{name}"] = np.nan if usable is None else usable.test_accuracy
            values[f"region_test_after_{name}"] = np.nan if usable is None else usable.region_test_accuracy
        corrected = {data: values[f"{data}_after_correction"] for data in ("test", "region_test")}
        values["test_drop"] = values["test_before"] - corrected["test"]
        values["region_test_gain"] = corrected["region_test"] - values["region_test_before"]
        for name in ("control", "baseline"):
            for data, accuracy in corrected.items():
                values[f"{data}_gain_over_{name}"] = accuracy - values[f"{data}_after_{name}"]
        rows += [{"seed": seed, "stage": "outcome", "measure": name, "value": value} for name, value in values.items()]
    return pd.DataFrame(rows)


def table_measures(table: pd.DataFrame, kind: str, *keys: str) -> pd.DataFrame:
    """Rows seed, stage, measure, value of every number in `table`; the stage is "`kind` <values of `keys`>"."""

    def text(value: object) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)

    name = [" ".join([kind, *map(text, row)]) for row in table[list(keys)].itertuples(index=False)]
    numbers = table.drop(columns=list(keys)).select_dtypes("number")
    long = numbers.assign(stage=name).melt(id_vars=["seed", "stage"], var_name="measure", value_name="value")
    return long.assign(value=long.value.astype(float))


def check_unique(measures: pd.DataFrame) -> None:
    """Check that a seed has each measure of a stage once: two arms under one name would pass for two seeds.

    Args:
        measures: with columns seed, stage, measure.

    Raises:
        SummaryError: naming the first that is there twice.
    """
    twice = measures[measures.duplicated(["seed", "stage", "measure"])]
    for row in twice.itertuples():
        raise SummaryError(f"seed {row.seed} has the measure {row.measure!r} of {row.stage!r} more than once")


def usable_accuracies(rivals: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Accuracies of all arms, by (seed, arm).

    An arm without a usable network (it had nothing to train on or to choose by, or it diverged at every value) leaves
    the classifier as it was, with the accuracies of the arm `before`.
    """
    measured = rivals.set_index(["seed", "arm"])[list(columns)].astype(float)
    return measured.fillna(measured.xs("before", level="arm").reindex(measured.index, level="seed"))


def rival_measures(rivals: pd.DataFrame) -> pd.DataFrame:
    """By how much the regions do better than each other arm, per seed.

    Compared are the `usable_accuracies` on test, on the regions' test draws and on the classifier's single mistakes
    whose labels no arm had.
    """
    measured = usable_accuracies(rivals, ("test_accuracy", "region_test_accuracy", "mistake_test_accuracy"))
    others = measured.drop(index="regions", level="arm")
    regions = measured.xs("regions", level="arm").reindex(others.index, level="seed")
    advantage = (regions - others).reset_index()
    return table_measures(advantage, "regions against", "arm")


def reading_measures(readings: pd.DataFrame, rivals: pd.DataFrame) -> pd.DataFrame:
    """What the claims ask of the readings, per seed, as rows seed, stage, measure, value.

    Args:
        readings: all seeds' readings.
        rivals: all seeds' arms; compared are their `usable_accuracies`.

    Returns:
        accepted_above_described, by how many accepted regions `repaired` is above `described`; discoveries_released,
        share of the released settings' mistakes that are the classifier's; no_label_above_single_labels, the advantage
        of asking for no label in the mean accuracy on the three kinds of unseen mistakes (of those that there are);
        no_label_test_drop, test accuracy lost then.
    """
    by_reading = readings.set_index(["seed", "reading"])
    accuracies = usable_accuracies(rivals, ("test_accuracy", *UNSEEN_MISTAKES))
    unseen = accuracies[list(UNSEEN_MISTAKES)].mean(axis=1)
    test = accuracies.test_accuracy
    rows = []
    for seed in readings.seed.unique():
        accepted = by_reading.accepted[seed]
        values = {
            "accepted_above_described": accepted[REPAIRED] - accepted[DESCRIBED],
            "discoveries_released": by_reading.classifier_mistake[seed, RELEASED],
            "no_label_above_single_labels": unseen[seed, "no label asked"] - unseen[seed, "single labels"],
            "no_label_test_drop": test[seed, "before"] - test[seed, "no label asked"],
        }
        rows += [
            {"seed": seed, "stage": "readings", "measure": name, "value": float(value)}
            for name, value in values.items()
        ]
    return pd.DataFrame(rows, columns=["seed", "stage", "measure", "value"])


def accepted_region_measures(regions: pd.DataFrame) -> pd.DataFrame:
    """Mean failure rate of the accepted regions, and the share of all mistakes in them, per seed."""
    rows = []
    for seed, table in regions.groupby("seed"):
        accepted = table[table.verdict == RegionVerdict.ACCEPTED]
        values = {"failure_rate": accepted.failure_rate.mean(), "share_of_mistakes": accepted.share_of_mistakes.sum()}
        rows += [
            {"seed": seed, "stage": "accepted regions", "measure": name, "value": value}
            for name, value in values.items()
        ]
    return pd.DataFrame(rows, columns=["seed", "stage", "measure", "value"])


def planted_measures(planted: pd.DataFrame) -> pd.DataFrame:
    """Means over the planted bugs, per seed, arm and strength.

    They are found (the share of bugs that some region matches), found_where_took (of only those whose planting took),
    recall, top_precision, and rank (of those found).
    """
    rows = []
    for (seed, arm, strength), table in planted.groupby(["seed", "arm", "strength"], sort=False):
        values = {
            "found": table.found.mean(),
            "found_where_took": table.found[table.took == 1].mean(),
            **table[["recall", "top_precision", "rank"]].mean(),
        }
        rows += [
            {"seed": seed, "stage": f"planted {arm} at {strength:g}", "measure": name, "value": value}
            for name, value in values.items()
        ]
    return pd.DataFrame(rows)


def over_seeds(measures: pd.DataFrame) -> pd.DataFrame:
    """Median, its interval (`median_interval`) and number of seeds with a value, for each stage and measure."""
    rows = []
    for (stage, measure), group in measures.groupby(["stage", "measure"], sort=False):
        median, low, high = median_interval(group.value.to_numpy(float))
        seeds = int(group.value.notna().sum())
        rows.append({"stage": stage, "measure": measure, "median": median, "low": low, "high": high, "seeds": seeds})
    return pd.DataFrame(rows, columns=["stage", "measure", "median", "low", "high", "seeds"])
