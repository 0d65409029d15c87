"""Distillation: regions from codes, and samples from regions."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from defuse.core import params
from defuse.core.random_streams import Streams
from defuse.method.distillation import Regions, fit_regions, kmeans_regions, regions_within, sample_regions

CENTRES = np.array([[0.0, 0.0, 0.0], [6.0, 0.0, 0.0], [0.0, 7.0, 1.0], [-5.0, -5.0, 4.0]])
COUNTS = [400, 300, 200, 100]


def distill_settings(**changes):
    return params.Distill(
        **{
            "include_reconstruction_failures": False,
            "fit_codes": 2000,
            "components": 12,
            "concentration_prior": None,
            "max_iterations": 300,
            "minimum_weight": 0.02,
            "tau": 1.0,
            "shown_samples": 1,
            "correction_samples": 1,
            "validation_samples": 1,
            "test_samples": 1,
            **changes,
        }
    )


def planted(seed=0):
    """Codes float32 (1000, 3) of four Gaussians of unequal size, shuffled, and which one each is from."""
    generator = np.random.default_rng(seed)
    truth = generator.permutation(np.repeat(np.arange(4), COUNTS))
    return (CENTRES[truth] + 0.6 * generator.standard_normal((1000, 3))).astype(np.float32), truth


def two_regions():
    covariance = np.array([[[2.0, 0.6], [0.6, 0.5]], [[0.1, 0.0], [0.0, 3.0]]])
    return Regions(
        np.array([0.6, 0.4]),
        np.array([[1.0, -2.0], [30.0, 5.0]]),
        covariance,
        np.zeros(0, int),
        True,
        1,
        np.zeros(0, bool),
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_gaussians_are_found(seed):
    codes, truth = planted(seed)
    regions = fit_regions(codes, distill_settings(), seed)
    assert len(regions) == 4 and regions.converged
    assert adjusted_rand_score(truth, regions.assignment) > 0.95
    # The heaviest first: the order of the planted counts.
    np.testing.assert_allclose(regions.weight, np.array(COUNTS) / 1000, atol=0.02)
    np.testing.assert_allclose(regions.mean, CENTRES, atol=0.25)
    # The mixture's prior, the covariance of all codes, still shows in the lighter regions.
    np.testing.assert_allclose(regions.covariance[:2], np.tile(0.36 * np.eye(3), (2, 1, 1)), atol=0.2)


def test_a_fit_on_part_of_the_codes_assigns_all_of_them():
    codes, truth = planted()
    regions = fit_regions(codes, distill_settings(fit_codes=300), 0)
    assert regions.fitted.sum() == 300 and regions.fitted.shape == (1000,)
    assert adjusted_rand_score(truth, regions.assignment) > 0.95
    assert fit_regions(codes, distill_settings(fit_codes=2000), 0).fitted.all()


@pytest.mark.parametrize(("minimum_weight", "kept"), [(0.05, 4), (0.15, 3), (0.25, 2), (0.35, 1), (0.6, 0)])
def test_components_below_the_weight_are_no_regions(minimum_weight, kept):
    codes, truth = planted()
    regions = fit_regions(codes, distill_settings(minimum_weight=minimum_weight), 0)
    assert len(regions) == kept and (regions.weight > minimum_weight).all()
    assert (np.diff(regions.weight) <= 0).all()
    assert set(regions.assignment.tolist()) == {*range(kept), *([-1] if kept < 4 else [])}
    for label in range(4):
        expected = label if label < kept else -1
        assert (regions.assignment[truth == label] == expected).mean() > 0.95


def test_random_state_decides():
    codes, _ = planted()
    first, again, other = (fit_regions(codes, distill_settings(fit_codes=300), state) for state in (1, 1, 2))
    np.testing.assert_array_equal(first.mean, again.mean)
    np.testing.assert_array_equal(first.fitted, again.fitted)
    assert not np.array_equal(first.fitted, other.fitted)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_fewer_codes_than_components_lower_the_truncation(count):
    codes = np.random.default_rng(0).normal(0, 5, (count, 4)).astype(np.float32)
    regions = fit_regions(codes, distill_settings(components=100), 0)
    assert 1 <= len(regions) <= count and regions.assignment.shape == (count,)
    samples = sample_regions(regions, 5, 1.0, np.random.default_rng(0))
    assert samples.shape == (len(regions), 5, 4) and np.isfinite(samples).all()


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_codes_there_is_no_region(count):
    regions = fit_regions(np.zeros((count, 4), np.float32), distill_settings(), 0)
    assert len(regions) == 0 and regions.mean.shape == (0, 4) and regions.covariance.shape == (0, 4, 4)
    assert regions.assignment.tolist() == [-1] * count and regions.fitted.tolist() == [False] * count
    samples = sample_regions(regions, 7, 1.0, np.random.default_rng(0))
    assert samples.shape == (0, 7, 4) and samples.dtype == np.float32


def test_equal_codes_are_one_region_that_can_be_sampled():
    regions = fit_regions(np.ones((30, 3), np.float32), distill_settings(), 0)
    assert len(regions) >= 1
    samples = sample_regions(regions, 50, 1.0, np.random.default_rng(0))
    np.testing.assert_allclose(samples, 1, atol=0.5)


@pytest.mark.parametrize(("iterations", "converged"), [(1, False), (300, True)])
def test_convergence_is_recorded_and_not_warned_about(iterations, converged):
    codes, _ = planted()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regions = fit_regions(codes, distill_settings(max_iterations=iterations), 0)
    assert regions.converged is converged
    assert regions.iterations == 1 if iterations == 1 else 1 < regions.iterations < 300


@pytest.mark.parametrize("tau", [0.01, 0.25, 1.0, 4.0])
def test_samples_have_the_mean_and_tau_times_the_covariance(tau):
    regions = two_regions()
    samples = sample_regions(regions, 40_000, tau, np.random.default_rng(0))
    assert samples.shape == (2, 40_000, 2) and samples.dtype == np.float32
    for drawn, mean, covariance in zip(samples, regions.mean, regions.covariance):
        np.testing.assert_allclose(drawn.mean(0), mean, atol=0.05 * np.sqrt(tau))
        np.testing.assert_allclose(np.cov(drawn.T), tau * covariance, atol=0.06 * tau)


def test_tau_scales_the_same_draws_by_its_root():
    regions = two_regions()
    wide, narrow = (sample_regions(regions, 10, tau, np.random.default_rng(0)) for tau in (1.0, 0.01))
    centre = regions.mean[:, None]
    np.testing.assert_allclose(narrow - centre, 0.1 * (wide - centre), atol=1e-4)


def test_each_purpose_has_its_own_draws():
    purposes = ("shown", "correction", "validation", "test")
    samples = {
        purpose: sample_regions(two_regions(), 100, 1.0, Streams(0, ("distill", "tests")).numpy(purpose))
        for purpose in purposes
    }
    rows = [tuple(code) for drawn in samples.values() for code in drawn.reshape(-1, 2).tolist()]
    assert len(set(rows)) == len(rows) == 800
    again = sample_regions(two_regions(), 100, 1.0, Streams(0, ("distill", "tests")).numpy("test"))
    np.testing.assert_array_equal(again, samples["test"])


def test_kmeans_clusters_become_regions_with_mean_and_covariance_of_their_codes():
    codes, truth = planted()
    regions = kmeans_regions(codes, 4, 3, 0)
    assert adjusted_rand_score(truth, regions.assignment) > 0.99 and (np.diff(regions.weight) <= 0).all()
    for region in range(4):
        own = codes[regions.assignment == region].astype(float)
        assert regions.weight[region] == pytest.approx(len(own) / 1000)
        np.testing.assert_allclose(regions.mean[region], own.mean(0))
        np.testing.assert_allclose(regions.covariance[region], np.cov(own.T, bias=True) + 1e-6 * np.eye(3))


@pytest.mark.parametrize(("count", "clusters", "found"), [(0, 3, 0), (1, 3, 1), (2, 3, 2), (5, 0, 0)])
def test_kmeans_makes_at_most_one_region_of_a_code(count, clusters, found):
    codes = np.random.default_rng(0).normal(0, 5, (count, 4)).astype(np.float32)
    regions = kmeans_regions(codes, clusters, 1, 0)
    assert len(regions) == found and len(sample_regions(regions, 2, 1.0, np.random.default_rng(0))) == found


def test_each_class_has_a_mixture_of_its_own_with_its_share_of_the_components():
    codes, truth = planted()
    labels = np.where(truth < 2, 0, truth)  # 700 codes in two clouds, 200 and 100 in one each
    regions = regions_within(codes, labels, 3, 0)
    assert len(regions) == 3  # 2.1, 0.6 and 0.3 of the three components, rounded
    assert sorted(np.round(regions.weight, 2)) == pytest.approx([0.2, 0.3, 0.4], abs=0.02)
    for region in range(3):
        assert len(set(labels[regions.assignment == region])) == 1
    assert (regions.assignment[truth == 3] == -1).all() and (regions.assignment[truth != 3] >= 0).all()


def test_a_class_without_a_share_of_the_components_has_no_region():
    codes, truth = planted()
    assert len(regions_within(codes, truth, 0, 0)) == 0 and len(regions_within(codes[:0], truth[:0], 5, 0)) == 0
