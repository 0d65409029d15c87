"""Novelty: neighbours and new types of error, computed by hand."""

import numpy as np
import pytest
import tiny_cell

from defuse.core.storage import load_arrays, read_json, read_table
from defuse.method.novelty import (
    Errors,
    error_table,
    known_distance,
    nearest_mistakes,
    neighbour_measures,
    novelty_measures,
)

NAN = float("nan")


def flat(values):
    """Images whose four pixels all have one value, so that distances are twice the difference."""
    return np.repeat(np.array(values, np.float32), 4).reshape(-1, 1, 2, 2)


def errors(*rows):
    """Errors from rows of grey value, label and prediction."""
    values, label, prediction = np.array(rows, float).reshape(-1, 3).T
    return Errors(flat(values), label.astype(int), prediction.astype(int))


# Of one pair, 0.1, 0.1 and 0.3 to the nearest other: distances of 0.2, 0.2 and 0.6; another pair has a single image.
MISTAKES = errors((0.0, 8, 3), (0.1, 8, 3), (0.4, 8, 3), (0.9, 6, 1))


def test_neighbours_come_nearest_first_in_pixel_distance():
    found = nearest_mistakes(flat([0.5]), flat([0.0, 0.4, 1.0]), neighbours=2)
    assert found.index.tolist() == [[1, 0]]
    assert found.distance[0] == pytest.approx([0.2, 1.0])
    assert found.reference_distance == pytest.approx([0.8, 0.8, 1.2])


def test_a_look_is_known_within_the_quantile_of_distances_between_mistakes_of_one_pair():
    assert known_distance(MISTAKES, 1.0) == pytest.approx(0.6)
    assert known_distance(MISTAKES, 0.5) == pytest.approx(0.2)
    assert np.isnan(known_distance(errors((0.0, 8, 3), (0.1, 6, 1)), 0.5))
    assert np.isnan(known_distance(errors(), 0.5))


def test_a_region_is_known_by_pair_and_look_and_else_a_new_type_of_error():
    draws = errors(
        (0.45, 8, 3), (0.5, 8, 3), (1.0, 8, 3),  # of one region: 0.1, 0.2 and 1.2 to the nearest 8 taken for a 3
        (0.8, 8, 3), (0.9, 8, 3),  # 0.8 and 1.0; both are nearest to a 6 taken for a 1
        (0.9, 6, 1),
        (0.0, 3, 8),  # as near as can be, but a 3 taken for an 8
    )  # fmt: skip
    table = error_table(draws, np.array([2, 2, 2, 4, 4, 5, 7]), MISTAKES, 1.0)
    assert table[["region", "label", "prediction", "failing"]].to_numpy().tolist() == [
        [2, 8, 3, 3],
        [4, 8, 3, 2],
        [5, 6, 1, 1],
        [7, 3, 8, 1],
    ]
    assert table.distance.tolist() == pytest.approx([0.2, 0.9, 0, NAN], nan_ok=True)
    assert table.known_distance.tolist() == pytest.approx([0.6] * 4)
    assert table.new_pair.tolist() == [False, False, False, True]
    assert table.new_look.tolist() == [False, True, False, False]
    assert table.new_type.tolist() == [False, True, False, True]


def test_a_regions_pair_is_its_most_frequent_one_and_all_its_draws_are_compared_with_that():
    table = error_table(errors((0.9, 6, 3), (0.9, 6, 1), (0.8, 6, 1)), np.zeros(3, int), MISTAKES, 1.0)
    assert table.prediction.tolist() == [1] and table.distance.tolist() == pytest.approx([0])
    equal = error_table(errors((0.9, 6, 3), (0.9, 6, 1)), np.zeros(2, int), MISTAKES, 1.0)
    assert equal.prediction.tolist() == [1]


def test_any_mistake_of_the_same_pair_makes_a_region_known_where_no_two_can_be_compared():
    alone = errors((0.0, 8, 3), (0.9, 6, 1))
    table = error_table(errors((1.0, 8, 3), (0.0, 8, 1)), np.arange(2), alone, 0.95)
    assert table.new_type.tolist() == [False, True] and table.known_distance.isna().all()


def test_regions_are_held_against_the_errors_on_test_images_each_a_region_of_one():
    found = error_table(errors((1.0, 8, 3), (1.0, 8, 3), (0.4, 8, 3)), np.array([0, 0, 1]), MISTAKES, 1.0)
    null = error_table(errors((0.9, 6, 1), (1.0, 8, 3), (0.1, 8, 3), (0.1, 8, 1)), np.arange(4), MISTAKES, 1.0)
    assert novelty_measures(found, null) == {
        "regions": 2,
        "new_pair": 0,
        "new_type": 0.5,
        "test_errors": 4,
        "new_pair_of_test_errors": 0.25,
        "new_type_of_test_errors": 0.5,
        "new_type_above_test_errors": 0,
    }


def test_many_draws_of_one_region_count_as_one_region():
    draws, region = errors(*[(0.9, 8, 3)] * 9, (0.05, 8, 3)), np.repeat([0, 1], [9, 1])
    assert novelty_measures(error_table(draws, region, MISTAKES, 1.0), error_table(*nothing()))["new_type"] == 0.5
    neighbours = nearest_mistakes(draws.images, MISTAKES.images, 2)
    assert neighbour_measures(draws, region, MISTAKES, neighbours)["unlike_neighbour"] == 0.5


def nothing():
    return errors(), np.zeros(0, int), MISTAKES, 0.95


def test_more_than_half_of_a_regions_draws_must_be_unlike_their_neighbour():
    draws, region = errors((0.9, 8, 3), (0.05, 8, 3), (0.9, 8, 3), (0.9, 8, 3)), np.array([0, 0, 1, 1])
    measures = neighbour_measures(draws, region, MISTAKES, nearest_mistakes(draws.images, MISTAKES.images, 1))
    assert measures["unlike_neighbour"] == 0.5
    assert measures["median_distance"] == pytest.approx(0, abs=1e-6)
    assert measures["median_reference_distance"] == pytest.approx(0.4)


def test_without_training_mistakes_every_region_and_every_test_error_is_new():
    table = error_table(errors((0.1, 8, 3)), np.zeros(1, int), errors(), 0.95)
    measures = novelty_measures(table, table)
    assert measures["new_pair"] == measures["new_type"] == measures["new_type_of_test_errors"] == 1
    assert measures["new_type_above_test_errors"] == 0 and np.isnan(table.known_distance).all()
    found = nearest_mistakes(flat([0.1]), flat([]), 3)
    measures = neighbour_measures(errors((0.1, 8, 3)), np.zeros(1, int), errors(), found)
    assert measures["unlike_neighbour"] == 1 and np.isnan(measures["median_distance"])


def test_without_failing_draws_or_test_errors_there_is_nothing_to_say():
    none, some = error_table(*nothing()), error_table(errors((0.1, 8, 3)), np.zeros(1, int), MISTAKES, 0.95)
    assert len(none) == 0 and none.columns.tolist() == some.columns.tolist()
    for measures in (novelty_measures(none, some), novelty_measures(some, none)):
        assert np.isnan(measures["new_type_above_test_errors"])
    assert np.isnan(novelty_measures(none, some)["new_type"]) and novelty_measures(none, some)["regions"] == 0
    measures = neighbour_measures(*nothing()[:2], MISTAKES, nearest_mistakes(flat([]), MISTAKES.images, 3))
    assert np.isnan(measures["unlike_neighbour"]) and np.isnan(measures["median_distance"])


def test_the_stage_measures_its_regions_and_the_misclassified_test_images_alike(tmp_path, shipped_tree, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_cell.write_project(tmp_path, tiny_cell.small_params(shipped_tree, novelty={"samples": 3}))
    for stage in ("train_classifier", "train_features", "train_vae", "train_oracle", "calibrate_oracle"):
        tiny_cell.run_stage(stage)
    for stage in ("identify", "distill", "show_regions", "vote", "annotate", "novelty"):
        tiny_cell.run_stage(stage)
    folder = tmp_path / "artifacts/novelty/digits/0"
    table, measures = read_table(folder / "regions.csv"), read_json(folder / "metrics.json")
    drawn = load_arrays(folder / "neighbours.npz")
    regions, counts = np.unique(drawn["region"], return_counts=True)
    assert table.region.tolist() == regions.tolist() and table.failing.tolist() == counts.tolist()
    assert measures["regions"] == len(table) > 0 and measures["samples"] == counts.sum()
    assert measures["new_type"] == table.new_type.mean()
    # A classifier of one epoch on noise gets nearly all of 12 test images wrong.
    assert 6 < measures["test_errors"] <= 12 and 0 <= measures["new_type_of_test_errors"] <= 1
    assert measures["new_type_above_test_errors"] == measures["new_type"] - measures["new_type_of_test_errors"]
