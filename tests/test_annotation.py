"""Annotators: verdicts on regions, agreement, causes and intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defuse.annotators.oracles import slip
from defuse.core import params
from defuse.core.statistics import wilson_interval
from defuse.core.verdicts import Cause
from defuse.method.annotation import (
    Annotations,
    agreement_kappa,
    cause_shares,
    causes_of_mistakes,
    judge_region,
    purity,
    region_measures,
    region_row,
    region_table,
)

SETTINGS = params.Annotate(
    minimum_agreement=0.6,
    consensus=0.6,
    strictness=[0.6],
    maximum_abstention=0.5,
    minimum_failures=0.5,
    slip_rate=0.0,
    annotated_mistakes=10,
)


def judged(votes, predictions):
    return judge_region(np.array(votes), np.array(predictions), SETTINGS.minimum_agreement, SETTINGS)


def test_a_region_that_annotators_contradict_is_accepted():
    result = judged([[8, 8, 8], [8, 8, -1]], [3, 3])
    assert (result.label, result.verdict) == (8, "accepted")
    assert result.agreement == pytest.approx(5 / 6)
    assert result.abstention == pytest.approx(1 / 6)
    assert result.failures == 1


@pytest.mark.parametrize(
    ("votes", "predictions", "verdict"),
    [
        ([[8, 8, 8], [8, 8, 8]], [8, 8], "false alarm"),
        ([[8, 8, 8], [8, 8, 8]], [8, 3], "false alarm"),  # exactly half is not more than half
        ([[1, 2, 3], [4, 5, 6]], [0, 0], "no agreement"),
        ([[8, -1, -1], [-1, -1, 8]], [3, 3], "not recognisable"),
        ([[-1, -1, -1], [-1, -1, -1]], [3, 3], "not recognisable"),
    ],
)
def test_rejections_say_why(votes, predictions, verdict):
    assert judged(votes, predictions).verdict == verdict


def test_kappa_of_the_published_worked_example():
    # Fleiss (1971) as worked in the literature: 10 subjects, 14 raters, 5 categories, kappa 0.210.
    counts = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    votes = np.array([np.repeat(np.arange(5), row) for row in counts])
    assert agreement_kappa(votes, classes=5) == pytest.approx(0.210, abs=5e-4)


def test_kappa_is_one_for_full_agreement_and_undefined_for_one_category():
    assert agreement_kappa(np.array([[0, 0, 0], [1, 1, 1]]), classes=2) == pytest.approx(1)
    assert np.isnan(agreement_kappa(np.zeros((4, 3), int), classes=2))
    assert np.isnan(agreement_kappa(np.zeros((0, 3), int), classes=2))


def test_each_mistake_gets_the_cause_that_the_oracles_give():
    causes = causes_of_mistakes(
        consensus_label=np.array([3, 3, 8, 3, 5, -1]),
        label=np.full(6, 3),
        prediction=np.full(6, 8),
        raw_failure=np.array([True, False, False, False, False, False]),
        reconstruction_failure=np.array([False, True, False, False, False, False]),
    )
    assert list(causes) == list(Cause)


@given(st.lists(st.sampled_from(list(Cause)), min_size=1, max_size=60))
def test_shares_sum_to_one_and_lie_in_their_intervals(drawn):
    rows = cause_shares(np.array(drawn))
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert all(row["low"] <= row["share"] + 1e-12 and row["share"] <= row["high"] + 1e-12 for row in rows)


def test_shares_of_no_mistake_are_not_a_number():
    assert all(np.isnan(row["share"]) and row["mistakes"] == 0 for row in cause_shares(np.zeros(0, "U9")))


def test_wilson_interval_of_a_textbook_case():
    # 10 of 20: centre 0.5, half width z / (n + z^2) * sqrt(n / 4 + z^2 / 4).
    z = 1.959963984540054
    half = z / (20 + z**2) * np.sqrt(20 / 4 + z**2 / 4)
    assert wilson_interval(10, 20) == pytest.approx((0.5 - half, 0.5 + half))


def test_wilson_interval_covers_what_it_says():
    generator = np.random.default_rng(0)
    draws = generator.binomial(50, 0.2, 2000)
    covered = [low <= 0.2 <= high for low, high in map(lambda count: wilson_interval(count, 50), draws)]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_slips_change_the_share_asked_for_and_never_an_abstention():
    votes = np.tile([0, 1, 2, -1], (5000, 1))
    slipped = slip(votes, 0.1, classes=3, generator=np.random.default_rng(0))
    assert (slipped[:, 3] == -1).all()
    assert (slipped[:, :3] != votes[:, :3]).mean() == pytest.approx(0.1, abs=0.01)
    assert slipped[:, :3].min() >= 0 and slipped.max() <= 2
    assert (slip(votes, 0.0, 3, np.random.default_rng(0)) == votes).all()


def test_purity_is_the_share_of_the_most_frequent_pair():
    assert purity(np.array([8, 8, 8, 3]), np.array([3, 3, 8, 3])) == 0.5
    assert np.isnan(purity(np.zeros(0, int), np.zeros(0, int)))


def test_a_draw_without_a_label_is_no_pair_and_counts_against_purity():
    assert purity(np.array([8, 8, -1, -1, -1]), np.full(5, 3)) == 0.4
    assert purity(np.array([-1, -1]), np.array([3, 3])) == 0


def test_region_row_measures_failure_on_test_draws_alone():
    votes, predictions = np.full((2, 3), 8), np.array([3, 3])
    test_votes, test_predictions = np.array([[8, 8, 8]] * 3 + [[-1, -1, 8]]), np.array([3, 3, 8, 3])
    row = region_row(votes, predictions, test_votes, test_predictions, np.array([8, 8, 3]), 30, SETTINGS)
    assert (row["label"], row["verdict"], row["prediction"]) == (8, "accepted", 3)
    assert row["failure_rate"] == 0.75 and row["failure_low"] < 0.75 < row["failure_high"]
    assert row["oracle_failure_rate"] == pytest.approx(2 / 3)  # of the three that have a consensus
    assert row["share_of_mistakes"] == pytest.approx(0.1)
    assert row["seed_label_agreement"] == pytest.approx(2 / 3)


def test_without_a_label_nothing_is_held_against_it():
    nothing, predictions = np.full((4, 3), -1), np.array([3, 3, 3, 8])
    row = region_row(nothing, predictions, nothing, predictions, np.array([8, 8]), 30, SETTINGS)
    assert (row["label"], row["verdict"], row["agreement"], row["purity"]) == (-1, "not recognisable", 0, 0)
    missing = ("failures", "failure_rate", "failure_low", "failure_high", "oracle_failure_rate", "seed_label_agreement")
    assert all(np.isnan(row[name]) for name in missing)


def test_means_over_regions_leave_out_those_without_a_label():
    seen, nothing = np.full((2, 3), 8), np.full((2, 3), -1)
    votes = Annotations(np.stack([seen, nothing]), np.full((2, 2), 3))
    table = region_table(votes, votes, np.full(2, 0.5), [np.array([8, 3]), np.array([3])], 30, SETTINGS)
    measures = region_measures(table, votes, 10)
    assert (measures["seed_label_agreement"], measures["mean_agreement"]) == (0.5, 0.5)


def test_kappa_counts_not_recognisable_as_a_category():
    assert agreement_kappa(np.array([[0, 0, 0], [-1, -1, -1]]), classes=2) == pytest.approx(1)
