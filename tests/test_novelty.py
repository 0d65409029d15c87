"""Novelty: neighbours and new types of error, computed by hand."""

import numpy as np
import pytest

from defuse.method.novelty import error_types, nearest_mistakes, new_type_shares


def flat(values):
    """Images whose four pixels all have one value, so that distances are twice the difference."""
    return np.repeat(np.array(values, np.float32), 4).reshape(-1, 1, 2, 2)


def test_neighbours_come_nearest_first_in_pixel_distance():
    found = nearest_mistakes(flat([0.5]), flat([0.0, 0.4, 1.0]), neighbours=2)
    assert found.index.tolist() == [[1, 0]]
    assert found.distance[0] == pytest.approx([0.2, 1.0])
    assert found.reference_distance == pytest.approx([0.8, 0.8, 1.2])


def test_new_types_are_counted_against_neighbour_and_against_all():
    mistakes = error_types(np.array([8, 6]), np.array([3, 1]))
    samples = error_types(np.array([8, 8, 5]), np.array([3, 3, 0]))
    found = nearest_mistakes(flat([0.1, 0.9, 0.1]), flat([0.0, 1.0]), neighbours=1)
    shares = new_type_shares(samples, mistakes, found)
    assert shares["unlike_neighbour"] == pytest.approx(2 / 3)  # the second is nearest to a 6 taken for a 1
    assert shares["absent_from_training"] == pytest.approx(1 / 3)
    assert shares["median_distance"] == pytest.approx(0.2)


def test_without_training_mistakes_every_sample_is_new():
    shares = new_type_shares(
        error_types(np.array([8]), np.array([3])), np.zeros((0, 2), int), nearest_mistakes(flat([0.1]), flat([]), 3)
    )
    assert shares["unlike_neighbour"] == 1 and shares["absent_from_training"] == 1
    assert np.isnan(shares["median_distance"])


def test_without_samples_there_is_nothing_to_say():
    none = np.zeros((0, 2), int)
    found = nearest_mistakes(flat([]), flat([0.1]), 3)
    shares = new_type_shares(none, error_types(np.array([8]), np.array([3])), found)
    assert all(np.isnan(value) for value in shares.values())
