"""Intervals cover what they say, kappa equals independent computations.

The tolerance of a simulated share is four binomial standard errors. `tests/test_claims.py` has the rules of the verdicts.
"""

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from defuse.core.statistics import median_interval, wilson_interval
from defuse.method.annotation import agreement_kappa


def tolerance(share: float, repetitions: int) -> float:
    return 4 * np.sqrt(share * (1 - share) / repetitions)


# Wilson interval of a share.


@pytest.mark.parametrize("count", [20, 200, 2000])  # regions' test draws: 200; annotated mistakes: up to 2,000
def test_wilson_covers_95_percent_over_all_shares(count):
    repetitions = 20_000
    generator = np.random.default_rng(count)
    intervals = np.array([wilson_interval(successes, count) for successes in range(count + 1)])
    shares = generator.uniform(0, 1, repetitions)
    low, high = intervals[generator.binomial(count, shares)].T
    covered = np.mean((low <= shares) & (shares <= high))
    # On average over the shares, 95.3 % with 20 draws and 95.0 % with 2,000.
    assert covered == pytest.approx(0.9515, abs=0.002 + tolerance(0.95, repetitions))


@pytest.mark.parametrize(("count", "from_a_tenth"), [(20, 0.925), (200, 0.935), (2000, 0.94)])
def test_wilson_covers_less_for_some_shares_and_least_next_to_nought(count, from_a_tenth):
    """Exact, by the binomial distribution: successes are whole numbers, so the coverage jumps with the true share."""
    low, high = np.array([wilson_interval(successes, count) for successes in range(count + 1)]).T
    shares = np.concatenate([np.geomspace(0.01 / count, 0.1, 500), np.linspace(0.1, 0.5, 500)])[:, None]
    probability = stats.binom.pmf(np.arange(count + 1), count, shares)
    coverage = (probability * ((low <= shares) & (shares <= high))).sum(1)
    assert from_a_tenth <= coverage[500:].min() < 0.95
    assert coverage.min() == pytest.approx(0.84, abs=0.015)
    assert count * shares[coverage.argmin(), 0] < 1  # where less than one success is expected


# Interval of a median over seeds.


@pytest.mark.parametrize("seeds", [6, 8, 10])
@pytest.mark.parametrize("draw", ["normal", "exponential", "share"])
def test_the_interval_of_the_median_covers_at_least_95_percent_of_any_distribution(seeds, draw):
    repetitions, generator = 200, np.random.default_rng(seeds)
    values, median = {
        "normal": lambda: (generator.normal(size=(repetitions, seeds)), 0.0),
        "exponential": lambda: (generator.exponential(size=(repetitions, seeds)), np.log(2)),
        "share": lambda: (generator.beta(1, 9, (repetitions, seeds)), stats.beta.ppf(0.5, 1, 9)),
    }[draw]()
    intervals = np.array([median_interval(cells)[1:] for cells in values])
    covered = (intervals[:, 0] <= median) & (median <= intervals[:, 1])
    assert covered.mean() >= 0.95 - tolerance(0.95, repetitions)
    assert (intervals[:, 0] >= values.min(1)).all() and (intervals[:, 1] <= values.max(1)).all()


def test_six_values_are_the_fewest_with_an_interval_and_missing_ones_count_for_nothing():
    assert median_interval(np.arange(6.0)) == (2.5, 0.0, 5.0)
    median, low, high = median_interval(np.array([0.1, 0.2, 0.4, 0.3, 0.9, np.nan]))
    assert median == 0.3 and np.isnan([low, high]).all()
    assert median_interval(np.array([0.5, np.nan]))[0] == 0.5 and np.isnan(median_interval(np.array([]))).all()


# Fleiss' kappa.


def kappa_by_hand(votes: list[list[int]]) -> float:
    """Fleiss (1971), in whole fractions: agreeing pairs of raters per subject, against the pairs expected."""
    raters, categories = len(votes[0]), sorted({vote for subject in votes for vote in subject})
    counts = [[subject.count(category) for category in categories] for subject in votes]
    observed = sum(Fraction(sum(n * (n - 1) for n in row), raters * (raters - 1)) for row in counts) / len(votes)
    shares = [Fraction(sum(row[place] for row in counts), len(votes) * raters) for place in range(len(categories))]
    expected = sum(share**2 for share in shares)
    return float((observed - expected) / (1 - expected))


@pytest.mark.parametrize(("subjects", "raters", "classes"), [(1, 2, 2), (7, 5, 3), (40, 5, 10), (25, 3, 43)])
def test_kappa_equals_its_formula(subjects, raters, classes):
    generator = np.random.default_rng(subjects)
    for _ in range(5):
        votes = generator.integers(-1, classes, (subjects, raters))  # -1: not recognisable
        votes[:, 0] = np.arange(subjects) % classes  # more than one category
        votes[0, 1] = -1
        assert agreement_kappa(votes, classes) == pytest.approx(kappa_by_hand(votes.tolist()), abs=1e-12)


def test_kappa_of_fleiss_own_example():
    """Fleiss, Psychological Bulletin 76 (1971): 30 patients, six psychiatrists, five diagnoses, kappa 0.430."""
    diagnoses = (  # one word per patient, one digit per psychiatrist
        "444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 "
        "144444 124444 222333 144444 224445 333335 111455 111112 224444 133555 "
        "555555 244444 224555 114444 144445 222224 111155 224444 133333 555555"
    )
    votes = np.array([[int(digit) - 1 for digit in patient] for patient in diagnoses.split()])
    assert votes.shape == (30, 6)
    assert agreement_kappa(votes, classes=5) == pytest.approx(0.430, abs=5e-4)


def test_kappa_of_votes_by_chance_is_near_nought():
    votes = np.random.default_rng(0).integers(0, 4, (4000, 5))
    # 40,000 pairs of votes agree with probability 1/4; kappa divides what exceeds it by 3/4.
    assert agreement_kappa(votes, classes=4) == pytest.approx(0, abs=tolerance(0.25, 40_000) / 0.75)
