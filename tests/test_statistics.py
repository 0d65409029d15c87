"""Intervals cover what they say, kappa equals independent computations, values give each verdict.

The tolerance of a simulated share is four binomial standard errors. `tests/test_summary.py` holds the intervals
over seeds against statsmodels, `tests/test_claims.py` the rules of the verdicts on given intervals.
"""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from defuse.core import params
from defuse.core.statistics import wilson_interval
from defuse.core.storage import write_json, write_table
from defuse.evidence.claims import judge
from defuse.evidence.tables import mean_interval, over_seeds
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


# Student's interval of a mean over seeds.


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_over_few_seeds_covers_95_percent(seeds):
    repetitions, mean = 4000, 0.7
    values = np.random.default_rng(seeds).normal(mean, 0.1, (repetitions, seeds))
    covered = [low <= mean <= high for _, low, high in map(mean_interval, values)]
    assert np.mean(covered) == pytest.approx(0.95, abs=tolerance(0.95, repetitions))


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_of_skewed_values_covers_less(seeds):
    """Said in docs/pipeline.md."""
    values = np.random.default_rng(seeds).exponential(size=(4000, seeds))
    covered = [low <= 1 <= high for _, low, high in map(mean_interval, values)]
    assert np.mean(covered) == pytest.approx(0.88, abs=0.005 + tolerance(0.88, 4000))


@pytest.mark.parametrize(("seeds", "deviations"), [(2, 8.98), (3, 2.48), (5, 1.24)])
def test_the_interval_is_as_wide_as_the_docs_say(seeds, deviations):
    values = np.random.default_rng(seeds).normal(size=seeds)
    mean, low, high = mean_interval(values)
    assert [mean - low, high - mean] == pytest.approx([deviations * values.std(ddof=1)] * 2, rel=0.002)


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


# From values per seed to a verdict.

BOUNDS = params.Claims(
    minimum_seeds=3,
    region_accuracy=0.9,
    accuracy_drop=0.01,
    agreement=0.8,
    new_error_types=0.5,
    labels_kept=0.95,
    planted_found=0.5,
    planted_advantage=0.1,
    reconstructions=params.Reconstructions(mnist=0.98, svhn=0.92, gtsrb=0.9),
)
REGIONS, DROP = "region_test_after_correction", "test_drop"  # the two measures of the claim "correction"
GOOD_REGIONS, BAD_REGIONS, SPREAD_REGIONS = [0.95, 0.97, 0.96], [0.5, 0.6, 0.55], [0.8, 0.95, 0.99]
SMALL_DROP, LARGE_DROP, SPREAD_DROP = [0.001, 0.0, -0.002], [0.03, 0.05, 0.04], [0.0, 0.02, 0.01]
NAN = float("nan")


@pytest.mark.parametrize(
    ("regions", "drop", "verdict", "indication"),
    [
        (GOOD_REGIONS, SMALL_DROP, "reproduced", "reproduced"),
        ([0.9, 0.9, 0.9], [0.01, 0.01, 0.01], "reproduced", "reproduced"),  # on the bound is on the right side
        (BAD_REGIONS, LARGE_DROP, "not reproduced", "not reproduced"),
        (GOOD_REGIONS, LARGE_DROP, "partly", "partly"),
        (BAD_REGIONS, SMALL_DROP, "partly", "partly"),
        (GOOD_REGIONS, SPREAD_DROP, "partly", "partly"),
        (BAD_REGIONS, SPREAD_DROP, "not reproduced", "not reproduced"),  # one fails, the other is open
        (SPREAD_REGIONS, SPREAD_DROP, "cannot be told", "cannot be told"),
        ([NAN, NAN, NAN], [NAN, NAN, NAN], "cannot be told", "cannot be told"),  # no region was accepted
        ([0.95, 0.951, NAN], SMALL_DROP, "cannot be told", "reproduced"),  # a seed short
        (GOOD_REGIONS, [0.0, NAN, NAN], "cannot be told", "reproduced"),
        ([0.95, NAN, NAN], [0.05, NAN, NAN], "cannot be told", "partly"),
    ],
)
def test_values_per_seed_give_each_verdict(tmp_path, regions, drop, verdict, indication):
    measures = pd.DataFrame(
        {"seed": [0, 1, 2] * 2, "stage": "outcome", "measure": [REGIONS] * 3 + [DROP] * 3, "value": regions + drop}
    )
    write_json(tmp_path / "provenance.json", {"slug": "mnist", "title": "MNIST", "line": "MNIST"})
    write_table(tmp_path / "mnist_measures.csv", measures)
    write_table(tmp_path / "mnist_means.csv", over_seeds(measures, ["stage", "measure"], "value"))
    rows = [row for row in judge(BOUNDS, "mnist", "beta_raw", tmp_path, [0, 1, 2]) if row["claim"] == "correction"]
    assert {(row["verdict"], row["indication"]) for row in rows} == {(verdict, indication)}
