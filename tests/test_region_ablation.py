"""What regions are like when tau or the mixture changes, on a VAE whose images are their codes."""

import numpy as np
import pytest
from test_ablation import MACHINE, Pixel, Steps

from defuse.annotators.oracles import Annotators, judge_regions
from defuse.core import params
from defuse.method.distillation import Regions
from defuse.models.subject import Subject
from defuse.studies.regions import mixture_row, region_variety, tau_row

ANNOTATE = params.Annotate(
    minimum_agreement=0.6,
    consensus=0.6,
    strictness=[0.6],
    maximum_abstention=0.5,
    minimum_failures=0.5,
    slip_rate=0.0,
    annotated_mistakes=1,
)
DISTILL = params.Distill(
    include_reconstruction_failures=False,
    fit_codes=10,
    components=2,
    concentration_prior=None,
    max_iterations=10,
    minimum_weight=0.01,
    tau=0.01,
    shown_samples=4,
    correction_samples=1,
    validation_samples=1,
    test_samples=1,
)


def annotators(unsure=9.0):
    """The classifier calls a pixel above 0 class 1, the oracles above 0.15; above `unsure` they recognise nothing."""
    return Annotators(Subject(Steps(0.0), Pixel(), MACHINE), [Steps(0.15, 0.3, unsure=unsure)] * 3, [0.5] * 3, 0.6)


def regions_at(*means, variance=1e-12):
    count = len(means)
    return Regions(
        np.full(count, 1 / count),
        np.array(means)[:, None],
        np.full((count, 1, 1), variance),
        np.array([*range(count), -1]),
        True,
        3,
        np.ones(count + 1, bool),
    )


def test_variety_is_the_mean_distance_between_draws():
    codes = np.array([[0.0], [3.0], [1.0]], np.float32)
    assert region_variety(annotators(), codes) == pytest.approx((3 + 1 + 2) / 3)


def test_each_region_is_judged_by_its_own_draws():
    shown = np.array([[[0.1]] * 4, [[-0.5]] * 4, [[0.2]] * 4], np.float32)
    judged = judge_regions(annotators(), shown, ANNOTATE)
    assert [(item.label, item.verdict) for item in judged] == [(0, "accepted"), (0, "false alarm"), (1, "false alarm")]


def test_human_slips_reach_the_votes():
    slipping = ANNOTATE.model_copy(update={"slip_rate": 1.0})
    shown = np.full((1, 4, 1), -0.5, np.float32)
    judged = judge_regions(annotators(), shown, slipping, np.random.default_rng(0))
    assert judged[0].label != 0 and judged[0].failures == 1


def test_draws_spread_with_the_root_of_tau_and_leave_the_region():
    near, far = (
        tau_row(annotators(), regions_at(0.1, variance=1e-4), tau, 400, ANNOTATE, np.random.default_rng(0))
        for tau in (1.0, 100.0)
    )
    assert far["variety"] == pytest.approx(10 * near["variety"], rel=1e-4)
    assert near["failure_rate"] == 1 and near["agreement"] == 1 and near["accepted"] == 1
    # N(0.1, 0.1) is between 0 and 0.15 with probability 0.53.
    assert far["failure_rate"] == pytest.approx(0.53, abs=0.07) and far["recognisable"] == 1


def test_draws_that_nobody_recognises_are_no_failures_and_no_successes():
    rows = [
        tau_row(annotators(unsure), regions_at(*means), 1.0, 4, ANNOTATE, np.random.default_rng(0))
        for unsure, means in ((0.05, (0.1,)), (0.14, (0.1, 0.2)))
    ]
    assert np.isnan(rows[0]["failure_rate"]) and rows[0]["recognisable"] == 0
    assert rows[1]["failure_rate"] == 1 and rows[1]["recognisable"] == 0.5  # of the one region that is recognised


def test_a_mixture_is_described_by_its_regions():
    row = mixture_row(annotators(), regions_at(0.1, -0.5, 0.12), DISTILL, ANNOTATE, np.random.default_rng(0))
    assert (row["regions"], row["accepted"], row["coverage"], row["agreement"]) == (3, 2, 0.75, 1)
    assert (row["largest_weight"], row["iterations"], row["converged"]) == (pytest.approx(1 / 3), 3, 1)


def test_without_regions_there_is_nothing_to_average():
    empty = Regions(np.zeros(0), np.zeros((0, 1)), np.zeros((0, 1, 1)), np.zeros(0, int), True, 0, np.zeros(0, bool))
    assert np.isnan(tau_row(annotators(), empty, 1.0, 3, ANNOTATE, np.random.default_rng(0))["variety"])
    row = mixture_row(annotators(), empty, DISTILL, ANNOTATE, np.random.default_rng(0))
    assert (row["regions"], row["coverage"], row["largest_weight"]) == (0, 0, 0) and np.isnan(row["agreement"])
