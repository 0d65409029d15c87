"""The verdict rules, on made tables that must give each verdict."""

import numpy as np
import pandas as pd
import pytest

from defuse.core import params
from defuse.core.errors import ClaimsError
from defuse.core.storage import write_json, write_table
from defuse.evidence.claims import COLUMNS, Condition, claims, holds, judge, search_noise, verdict

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
SEEDS = [0, 1, 2]
NOISE = "beta_raw"


def tables_with(folder, values, seeds=SEEDS):
    """A data set's tables in which each measure has (mean, low, high)."""
    names = [name.rpartition(".") for name in values]
    means = pd.DataFrame(
        {
            "stage": [stage for stage, _, _ in names],
            "measure": [measure for _, _, measure in names],
            "mean": [value[0] for value in values.values()],
            "low": [value[1] for value in values.values()],
            "high": [value[2] for value in values.values()],
            "seeds": len(seeds),
        }
    )
    write_json(folder / "provenance.json", {"slug": "mnist", "title": "MNIST", "line": "MNIST"})
    write_table(folder / "mnist_means.csv", means)
    write_table(folder / "mnist_measures.csv", pd.DataFrame({"seed": seeds, "value": 0.0}))
    return folder


def verdicts(rows):
    return {row["claim"]: row["verdict"] for row in rows}


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.91, 0.95, True), (0.80, 0.85, False), (0.85, 0.95, None), (0.9, 0.9, True)]
)
def test_at_least_is_decided_by_the_whole_interval(low, high, expected):
    assert holds(Condition("m", True, 0.9), (low + high) / 2, low, high) is expected


def test_at_most_mirrors_at_least():
    condition = Condition("m", False, 0.01)
    assert holds(condition, 0.0, -0.005, 0.005) is True
    assert holds(condition, 0.03, 0.02, 0.04) is False
    assert holds(condition, 0.01, 0.0, 0.02) is None


def test_one_seed_stands_for_its_interval_and_no_value_decides_nothing():
    assert holds(Condition("m", True, 0.9), 0.95, np.nan, np.nan) is True
    assert holds(Condition("m", True, 0.9), np.nan, np.nan, np.nan) is None


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ([True, True], "reproduced"),
        ([False, False], "not reproduced"),
        ([True, False], "partly"),
        ([True, None], "partly"),
        ([False, None], "not reproduced"),
        ([None, None], "cannot be told"),
        ([True, False, None], "partly"),
        ([False, None, None], "not reproduced"),
    ],
)
def test_verdicts(decisions, expected):
    assert verdict(decisions) == expected


def test_made_tables_give_each_verdict(tmp_path):
    rows = judge(
        BOUNDS,
        "mnist",
        NOISE,
        tables_with(
            tmp_path,
            {
                "outcome.region_test_after_correction": (0.97, 0.95, 0.99),
                "outcome.test_drop": (0.002, 0.001, 0.003),
                "outcome.region_test_advantage": (-0.2, -0.3, -0.1),
                "outcome.test_advantage": (-0.02, -0.03, -0.01),
                "novelty.unlike_neighbour": (0.5, 0.3, 0.7),
                "annotate.mean_agreement": (0.9, 0.85, 0.95),
                "annotate.mean_purity": (0.5, 0.4, 0.6),
            },
        ),
        SEEDS,
    )
    found = verdicts(rows)
    assert found["correction"] == "reproduced"
    assert found["baseline"] == "not reproduced"
    assert found["novelty"] == "cannot be told"  # the interval holds the bound
    assert found["bugs with a name"] == "partly"
    assert found["small perturbation"] == "cannot be told"  # not measured
    assert found["purity and coverage"] == "measured"


def test_a_claim_of_which_no_condition_holds_is_not_partly_reproduced(tmp_path):
    values = {"annotate.mean_agreement": (0.4, 0.3, 0.5), "annotate.mean_purity": (0.8, 0.7, 0.9)}  # fails; open
    rows = judge(BOUNDS, "mnist", NOISE, tables_with(tmp_path, values), SEEDS)
    assert verdicts(rows)["bugs with a name"] == "not reproduced"


def test_too_few_seeds_give_an_indication_and_no_verdict(tmp_path):
    values = {
        "outcome.region_test_after_correction": (0.97, np.nan, np.nan),
        "outcome.test_drop": (0.002, np.nan, np.nan),
    }
    rows = judge(BOUNDS, "mnist", NOISE, tables_with(tmp_path, values, [0]), [0])
    row = next(row for row in rows if row["claim"] == "correction")
    assert (row["verdict"], row["indication"]) == ("cannot be told", "reproduced")


def test_tables_of_other_seeds_are_refused_and_fewer_give_no_verdict(tmp_path):
    with pytest.raises(ClaimsError, match=r"made from seeds \[0, 7\], params.yaml names"):
        judge(BOUNDS, "mnist", NOISE, tables_with(tmp_path, {"novelty.unlike_neighbour": (1, 1, 1)}, [0, 7]), SEEDS)
    values = {"novelty.unlike_neighbour": (1, np.nan, np.nan)}
    rows = judge(BOUNDS, "mnist", NOISE, tables_with(tmp_path, values, [0]), SEEDS)
    assert verdicts(rows)["novelty"] == "cannot be told"


def test_the_noise_that_the_search_used_decides_on_small_perturbation(tmp_path):
    def normal(scale):
        return params.Noise({"normal": scale})

    arms = {"normal_0.1": normal(0.1), "normal_0.2": normal(0.2)}
    tables = tables_with(
        tmp_path, {"noise normal_0.1.label_kept": (0.99, 0.98, 1.0), "noise normal_0.2.label_kept": (0.8, 0.75, 0.85)}
    )
    found = {
        scale: verdicts(judge(BOUNDS, "svhn", search_noise(normal(scale), arms), tables, SEEDS))["small perturbation"]
        for scale in (0.1, 0.2, 0.3)
    }
    assert found == {0.1: "reproduced", 0.2: "not reproduced", 0.3: "cannot be told"}


@pytest.mark.parametrize(
    ("found", "control", "kmeans", "expected"),
    [
        (0.8, 0.2, 0.3, "reproduced"),
        (0.8, 0.2, 0.8, "partly"),
        (0.8, 0.75, 0.3, "partly"),
        (0.3, 0.3, 0.3, "not reproduced"),
    ],
)
def test_planted_bugs_must_be_found_and_oftener_than_by_chance(tmp_path, found, control, kmeans, expected):
    values = {
        "plant_bugs.found": found,
        "plant_bugs.above_control": found - control,
        "plant_bugs.above_kmeans": found - kmeans,
    }
    tables = tables_with(tmp_path, {name: (value,) * 3 for name, value in values.items()})
    rows = judge(BOUNDS, "mnist", NOISE, tables, SEEDS)
    assert verdicts(rows)["planted bugs"] == expected


@pytest.mark.parametrize(("dataset", "expected"), [("mnist", "not reproduced"), ("gtsrb", "reproduced")])
def test_each_data_set_has_its_own_aim_for_reconstructions(tmp_path, dataset, expected):
    values = {"identify.validation_reconstruction_accuracy": (0.93, 0.925, 0.935)}
    assert verdicts(judge(BOUNDS, dataset, NOISE, tables_with(tmp_path, values), SEEDS))["reconstructions"] == expected


def test_regions_must_beat_each_rival(tmp_path):
    wins = {
        f"regions against {arm}.{measure}_accuracy": (0.1, 0.05, 0.15)
        for arm, measure in (
            ("single mistakes", "region_test"),
            ("single mistakes", "mistake_test"),
            ("k-means", "mistake_test"),
            ("more training", "mistake_test"),
        )
    }
    assert verdicts(judge(BOUNDS, "mnist", NOISE, tables_with(tmp_path, wins), SEEDS))["rivals"] == "reproduced"
    lost = {**wins, "regions against k-means.mistake_test_accuracy": (-0.1, -0.15, -0.05)}
    assert verdicts(judge(BOUNDS, "mnist", NOISE, tables_with(tmp_path, lost), SEEDS))["rivals"] == "partly"


def test_every_claim_of_the_post_has_a_rule_and_no_number_is_put_in_the_papers_mouth(tmp_path):
    rules = [claim.source for claim in claims(BOUNDS, "mnist", NOISE) if claim.conditions]
    assert rules.count("blog") == 6 and rules.count("later work") == 2 and rules.count("design") == 1
    rows = judge(BOUNDS, "mnist", NOISE, tables_with(tmp_path, {"novelty.unlike_neighbour": (1, 1, 1)}), SEEDS)
    assert all(row["paper_value"] == "" for row in rows)
    assert all(tuple(row) == COLUMNS for row in rows)
