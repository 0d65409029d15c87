"""Gathering cells: missing and extra ones, tidy tables, intervals over seeds."""

import numpy as np
import pandas as pd
import pytest

from defuse.core.errors import SummaryError
from defuse.core.storage import write_json, write_table
from defuse.evidence.tables import (
    accepted_region_measures,
    check_cells,
    check_unique,
    gather_measures,
    gather_table,
    outcome_measures,
    over_seeds,
    planted_measures,
    reading_measures,
    rival_measures,
    table_measures,
)
from defuse.showing.figure_data import order_regions


@pytest.fixture
def cells(tmp_path):
    for seed in (0, 1):
        folder = tmp_path / "cells" / str(seed)
        write_json(folder / "provenance.json", {"slug": "digits", "line": "all of the digits"})
        measures = {"regions": 10 + seed, "nothing": None, "text": "left out"}
        write_json(folder / "digits_measures.json", {"annotate": measures, "identify": {"mistakes": 3}})
        write_table(folder / "digits_table.csv", pd.DataFrame({"x": [seed, seed + 1]}))
    return tmp_path / "cells"


def test_complete_cells_of_the_same_data_pass(cells):
    assert check_cells(cells, [0, 1]) == {"slug": "digits", "line": "all of the digits"}


def test_missing_and_extra_cells_are_all_named(cells):
    with pytest.raises(SummaryError) as caught:
        check_cells(cells, [0, 2, 3])
    message = str(caught.value)
    assert f"missing: {cells / '2'}; missing: {cells / '3'}; not in params.yaml, remove it: {cells / '1'}" in message
    with pytest.raises(SummaryError, match="missing: "):
        check_cells(cells / "absent", [0])


def test_cells_of_other_data_are_named(cells):
    write_json(cells / "1" / "provenance.json", {"slug": "digits", "line": "half of the digits"})
    with pytest.raises(SummaryError, match=f"made from other data than {cells / '0'}, run them again: {cells / '1'}"):
        check_cells(cells, [0, 1])


def test_tables_carry_their_seed(cells):
    assert gather_table(cells, [0, 1], "table.csv").to_numpy().tolist() == [[0, 0], [0, 1], [1, 1], [1, 2]]


def test_measures_are_tidy(cells):
    table = gather_measures(cells, [0, 1])
    assert list(table.columns) == ["seed", "stage", "measure", "value"]
    regions = table[(table.measure == "regions") & (table.stage == "annotate")]
    assert regions.value.tolist() == [10, 11]
    assert table[table.measure == "nothing"].value.isna().all()
    assert "text" not in set(table.measure) and set(table.stage) == {"annotate", "identify"}


def test_outcome_takes_the_chosen_arms_and_their_differences():
    sweep = pd.DataFrame(
        {
            "seed": 0,
            "arm": ["before", "correction", "correction"],
            "lambda": [np.nan, 0.0, 1.0],
            "diverged": False,
            "test_accuracy": [0.98, 0.97, 0.975],
            "region_test_accuracy": [0.1, 0.2, 0.9],
            "chosen": [False, False, True],
        }
    )
    baseline = pd.DataFrame(
        {
            "seed": 0,
            "diverged": False,
            "test_accuracy": [0.9, 0.95],
            "region_test_accuracy": [0.8, 0.5],
            "chosen": [True, False],
        }
    )
    values = outcome_measures(sweep, baseline).set_index("measure").value
    assert values["test_drop"] == pytest.approx(0.005)
    assert values["region_test_gain"] == pytest.approx(0.8)
    assert values["test_gain_over_control"] == pytest.approx(0.005)
    assert values["region_test_gain_over_control"] == pytest.approx(0.7)
    assert values["test_gain_over_baseline"] == pytest.approx(0.075)
    assert values["region_test_gain_over_baseline"] == pytest.approx(0.1)


def test_where_every_arm_diverged_the_classifier_stays_as_it_was_and_gains_nothing():
    """A cell with regions and no usable network is no cell without regions: it is judged, and fails."""
    sweep = pd.DataFrame(
        {
            "seed": 0,
            "arm": ["before", "correction", "correction"],
            "lambda": [np.nan, 0.0, 1.0],
            "diverged": [False, True, True],
            "test_accuracy": [0.98, np.nan, np.nan],
            "region_test_accuracy": [0.1, np.nan, np.nan],
            "chosen": False,
        }
    )
    rate = {"seed": 0, "diverged": True, "test_accuracy": np.nan, "region_test_accuracy": np.nan, "chosen": False}
    values = outcome_measures(sweep, pd.DataFrame([rate])).set_index("measure").value
    assert (values["region_test_after_correction"], values["region_test_gain"], values["test_drop"]) == (0.1, 0, 0)
    assert values["region_test_gain_over_baseline"] == values["region_test_gain_over_control"] == 0


def test_without_a_chosen_arm_there_is_no_gain_and_the_control_is_told_all_the_same():
    sweep = pd.DataFrame(
        {
            "seed": 0,
            "arm": ["before", "correction"],
            "lambda": [np.nan, 0.0],
            "diverged": False,
            "test_accuracy": [0.98, 0.97],
            "region_test_accuracy": [np.nan, np.nan],
            "chosen": [False, False],
        }
    )
    baseline = pd.DataFrame(columns=["seed", "diverged", "test_accuracy", "region_test_accuracy", "chosen"])
    values = outcome_measures(sweep, baseline).set_index("measure").value
    assert values["test_after_control"] == 0.97
    assert values[["test_drop", "region_test_gain", "region_test_gain_over_control"]].isna().all()


def test_over_seeds_gives_the_median_and_counts_the_seeds_with_a_value():
    values = [1.0, 3.0, 2.0, 5.0, 4.0, 6.0, np.nan]
    table = pd.DataFrame({"stage": "a", "measure": ["m"] * 7 + ["n"], "value": [*values, np.nan]})
    result = over_seeds(table).set_index("measure")
    assert result.loc["m", ["median", "low", "high", "seeds"]].tolist() == [3.5, 1, 6, 6]
    assert np.isnan(result.loc["n", "median"]) and result.loc["n", "seeds"] == 0


def test_a_measure_that_one_seed_has_twice_is_named():
    rows = pd.DataFrame({"seed": [0, 1, 1], "stage": "tau 0.01", "measure": "variety", "value": 0.5})
    check_unique(rows.iloc[:2])
    check_unique(rows.assign(measure=["variety", "variety", "agreement"]))
    with pytest.raises(SummaryError, match=r"^seed 1 has the measure 'variety' of 'tau 0\.01' more than once$"):
        check_unique(rows)


def test_table_measures_names_the_row():
    table = pd.DataFrame({"seed": [0], "noise": ["beta_raw"], "wrong": [0.1], "label_kept": [0.9]})
    rows = table_measures(table, "noise", "noise")
    assert rows.to_dict("records") == [
        {"seed": 0, "stage": "noise beta_raw", "measure": "wrong", "value": 0.1},
        {"seed": 0, "stage": "noise beta_raw", "measure": "label_kept", "value": 0.9},
    ]


def test_table_measures_takes_several_keys_and_leaves_words_out():
    table = pd.DataFrame({"seed": [1], "components": [20], "prior": [0.05], "kind": ["ssim"], "regions": [7]})
    assert table_measures(table, "mixture", "components", "prior").to_dict("records") == [
        {"seed": 1, "stage": "mixture 20 0.05", "measure": "regions", "value": 7.0}
    ]


def rival_table(*rows):
    names = ("seed", "arm", "lambda", "learning_rate", "test_accuracy", "region_test_accuracy", "mistake_test_accuracy")
    return pd.DataFrame(rows, columns=names)


def advantages(*rows):
    return rival_measures(rival_table(*rows)).set_index(["seed", "stage", "measure"]).value.sort_index()


def test_regions_are_set_against_each_rival_of_the_same_seed():
    values = advantages(
        (0, "before", None, None, 0.9, 0.0, 0.0),
        (0, "regions", 1.0, None, 0.9, 1.0, 0.5),
        (0, "k-means", 1.0, None, 0.8, 0.4, 0.6),
        (1, "before", None, None, 0.9, np.nan, 0.0),
        (1, "regions", 1.0, None, 0.7, np.nan, 0.5),
        (1, "k-means", 0.1, None, 0.9, np.nan, 0.1),
    )
    assert values[0, "regions against k-means", "test_accuracy"] == pytest.approx(0.1)
    assert values[0, "regions against k-means", "region_test_accuracy"] == pytest.approx(0.6)
    assert values[1, "regions against k-means", "mistake_test_accuracy"] == pytest.approx(0.4)
    assert np.isnan(values[1, "regions against k-means", "region_test_accuracy"]) and len(values) == 12


def test_an_arm_without_anything_to_train_on_leaves_the_classifier_as_it_was():
    values = advantages(
        (0, "regions", None, None, np.nan, np.nan, np.nan),  # no region was accepted
        (0, "before", None, None, 0.9, np.nan, 0.1),
        (0, "single mistakes", 1.0, None, 0.8, np.nan, 0.4),
        (0, "k-means", None, None, np.nan, np.nan, np.nan),
        (1, "before", None, None, 0.7, 0.2, 0.3),
        (1, "regions", 0.1, None, 0.6, 0.9, 0.5),
        (1, "k-means", None, None, np.nan, np.nan, np.nan),
    )
    assert values[0, "regions against single mistakes"].to_dict() == pytest.approx(
        {"test_accuracy": 0.1, "region_test_accuracy": np.nan, "mistake_test_accuracy": -0.3}, nan_ok=True
    )
    assert values[0, "regions against k-means", "mistake_test_accuracy"] == 0
    assert values[1, "regions against k-means"].to_dict() == pytest.approx(
        {"test_accuracy": -0.1, "region_test_accuracy": 0.7, "mistake_test_accuracy": 0.2}
    )


def test_an_arm_that_diverged_at_every_value_leaves_the_classifier_as_it_was():
    values = advantages(
        (0, "before", None, None, 0.9, 0.0, 0.0),
        (0, "regions", 1.0, None, 0.9, 1.0, 0.5),
        (0, "k-means", 0.1, None, np.nan, np.nan, np.nan),
        (0, "more training", 0.0, None, np.nan, np.nan, np.nan),
        (0, "baseline: mistakes alone", None, 0.01, np.nan, np.nan, np.nan),
    )
    as_before = {"test_accuracy": 0.0, "region_test_accuracy": 1.0, "mistake_test_accuracy": 0.5}
    for arm in ("k-means", "more training", "baseline: mistakes alone"):
        assert values[0, f"regions against {arm}"].to_dict() == as_before


def reading_values(readings, rivals):
    names = ("seed", "reading", "accepted", "classifier_mistake")
    kinds = (f"{reading}_mistakes_accuracy" for reading in ("released", "described", "repaired"))
    arms = pd.DataFrame(rivals, columns=["seed", "arm", "test_accuracy", *kinds])
    rows = reading_measures(pd.DataFrame(readings, columns=names), arms)
    assert set(rows.stage) == {"readings"}
    return rows.set_index(["seed", "measure"]).value.sort_index()


def test_readings_are_set_against_each_other_within_a_seed():
    values = reading_values(
        [
            (0, "described", 2, 0.2),
            (0, "released", 4, 0.1),
            (0, "repaired", 9, 0.9),
            (0, "no search", 30, 1.0),
            (1, "described", 5, 0.2),
            (1, "released", 0, np.nan),  # no mistake to judge
            (1, "repaired", 3, 0.9),
        ],
        [
            (0, "before", 0.990, 0.0, 0.0, 0.0),
            (0, "no label asked", 0.988, 0.3, 0.4, 0.8),
            (0, "single labels", 0.970, 0.6, 0.5, 0.7),
            (1, "single labels", 0.980, 0.5, 0.1, np.nan),  # no unseen mistake of the repaired search
            (1, "no label asked", np.nan, np.nan, np.nan, np.nan),  # the checker kept nothing
            (1, "before", 0.990, 0.1, 0.1, np.nan),
        ],
    )
    assert values[0].to_dict() == pytest.approx(
        {
            "accepted_above_described": 7,
            "discoveries_released": 0.1,
            "no_label_above_single_labels": -0.1,
            "no_label_test_drop": 0.002,
        }
    )
    assert values[1].to_dict() == pytest.approx(
        {
            "accepted_above_described": -2,
            "discoveries_released": np.nan,
            "no_label_above_single_labels": -0.2,  # it leaves the classifier as it was
            "no_label_test_drop": 0.0,
        },
        nan_ok=True,
    )


def test_planted_bugs_are_averaged_by_seed_arm_and_strength():
    table = pd.DataFrame(
        {
            "seed": 0,
            "arm": ["mixture"] * 3 + ["k-means"],
            "strength": [0.5, 0.5, 1.0, 0.5],
            "found": [1, 0, 1, 0],
            "took": [1, 0, 0, 1],
            "recall": [0.6, 0.2, 1.0, 0.0],
            "top_precision": [0.5, 0.1, 0.3, 0.0],
            "rank": [3, np.nan, 1, np.nan],
        }
    )
    rows = planted_measures(table)
    assert rows.stage.unique().tolist() == ["planted mixture at 0.5", "planted mixture at 1", "planted k-means at 0.5"]
    values = rows[rows.stage == "planted mixture at 0.5"].set_index("measure").value
    assert values.to_dict() == pytest.approx(
        {"found": 0.5, "found_where_took": 1, "recall": 0.4, "top_precision": 0.3, "rank": 3}
    )
    assert rows[rows.stage == "planted mixture at 1"].set_index("measure").value.isna()["found_where_took"]


def test_accepted_regions_are_averaged_and_added_up():
    table = pd.DataFrame(
        {
            "seed": 0,
            "verdict": ["accepted", "false alarm", "accepted"],
            "failure_rate": [0.8, 0.0, 1.0],
            "share_of_mistakes": [0.1, 0.5, 0.2],
        }
    )
    values = accepted_region_measures(table).set_index("measure").value
    assert values["failure_rate"] == pytest.approx(0.9) and values["share_of_mistakes"] == pytest.approx(0.3)


def test_regions_are_shown_accepted_first_then_largest():
    table = pd.DataFrame(
        {
            "region": [0, 1, 2, 3],
            "verdict": ["false alarm", "accepted", "no agreement", "accepted"],
            "share_of_mistakes": [0.4, 0.1, 0.3, 0.2],
        }
    )
    assert order_regions(table, 3).tolist() == [3, 1, 0]
