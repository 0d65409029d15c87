"""The verdict rules, on made tables that must give each verdict."""

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from defuse.core import params
from defuse.core.errors import ClaimsError
from defuse.core.statistics import sign_test
from defuse.core.storage import write_json, write_table
from defuse.evidence.claims import Condition, claims, search_noise
from defuse.evidence.judging import COLUMNS, judge, measures_of, stages_of, verdict

BOUNDS = params.Claims(
    region_accuracy=0.9,
    accuracy_drop=0.01,
    agreement=0.8,
    new_error_types=0.5,
    labels_kept=0.95,
    planted_found=0.5,
    planted_advantage=0.1,
    reconstructions=params.Reconstructions(mnist=0.98, svhn=0.95, gtsrb=0.95),
    released_discoveries=0.5,
    label_advantage=0.05,
    kept_accuracy=0.003,
    right_by_eye=0.9,
)
NOT_LOOKED_AT = pd.DataFrame(columns=["sheet", "oracles", "by_eye", "count"])
SEEDS = list(range(8))
NOISE = "beta_raw"
NAN = float("nan")
ARMS = ["rival regions", "search from_train", "tau 0.01", "planted mixture at 1", "noise beta_raw"]
REGIONS, CONTROL, DROP = (
    f"outcome.{name}" for name in ("region_test_after_correction", "region_test_gain_over_control", "test_drop")
)


def tables_with(folder, values, seeds=SEEDS):
    """A data set's tables in which each measure has one value, or one for each seed; all others measured nothing."""
    everything = claims(BOUNDS, "mnist", NOISE)
    names = dict.fromkeys(name for claim in everything for name in measures_of(claim, [f"{arm}." for arm in ARMS]))
    rows = [
        {"seed": seed, "stage": name.rpartition(".")[0], "measure": name.rpartition(".")[2], "value": value}
        for name in {**names, **dict.fromkeys(values)}
        for seed, value in zip(seeds, np.broadcast_to(values.get(name, NAN), len(seeds)))
    ]
    write_json(folder / "provenance.json", {"slug": "mnist", "title": "MNIST", "line": "MNIST"})
    write_table(folder / "mnist_measures.csv", pd.DataFrame(rows))
    return folder


def judged(folder, values, dataset="mnist", noise=NOISE, seeds=SEEDS, by_eye=NOT_LOOKED_AT):
    return judge(BOUNDS, dataset, noise, tables_with(folder, values, seeds), SEEDS, by_eye)


def verdicts(rows):
    return {row["claim"]: row["verdict"] for row in rows}


@pytest.mark.parametrize(
    ("met", "cells", "expected"),
    [
        *((met, cells, None) for cells in range(5) for met in range(cells + 1)),  # fewer than five decide nothing
        (5, 5, True),
        (4, 5, None),
        (0, 5, False),
        (6, 7, None),
        (7, 8, True),
        (6, 8, None),
        (1, 8, False),
        (8, 9, True),
        (9, 10, True),
        (8, 10, None),
        (2, 10, None),
        (1, 10, False),
    ],
)
def test_a_sign_test_over_the_seeds_decides_a_condition(met, cells, expected):
    assert sign_test(met, cells) is expected


@pytest.mark.parametrize(
    ("chance", "holds", "fails"),
    [
        # On the bound; a little to its right side; far to it. Of a little and far to the wrong side the mirror is tested.
        (0.5, {5: 0.031, 8: 0.035, 10: 0.011}, {5: 0.031, 8: 0.035, 10: 0.011}),
        (0.7, {5: 0.168, 8: 0.255, 10: 0.149}, {5: 0.002, 8: 0.001, 10: 0.0}),
        (0.95, {5: 0.774, 8: 0.943, 10: 0.914}, {5: 0.0, 8: 0.0, 10: 0.0}),
    ],
)
@pytest.mark.parametrize("seeds", [5, 8, 10])
@pytest.mark.parametrize("skewed", [False, True])
def test_how_often_the_rule_says_holds_fails_and_open(seeds, chance, holds, fails, skewed):
    """Cells meet the bound with this chance, whatever the distribution; docs/pipeline.md has the table."""
    repetitions = 20_000
    draw = np.random.default_rng(seeds).exponential if skewed else np.random.default_rng(seeds).normal
    bound = np.quantile(draw(size=400_000), 1 - chance)
    met = Condition("m", ">=", bound).met(draw(size=(repetitions, seeds))).sum(1)
    decisions = np.array([sign_test(count, seeds) for count in range(seeds + 1)], object)
    for right, counts in ((True, met), (False, seeds - met)):  # the mirror: cells that miss it with this chance
        said, opposite = decisions[counts] == right, decisions[counts] == (not right)
        assert said.mean() == pytest.approx(holds[seeds], abs=0.012)
        assert opposite.mean() == pytest.approx(fails[seeds], abs=0.006)


def completions(decisions):
    return itertools.product(*([True, False] if decision is None else [decision] for decision in decisions))


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_case_of_conditions_gives_the_verdict_that_no_open_one_could_change(count, parts):
    def settled(decisions):
        if all(decisions):
            return "reproduced"
        return "partly" if parts and any(decisions) else "not reproduced"

    for decisions in itertools.product([True, False, None], repeat=count):
        possible = {settled(case) for case in completions(decisions)}
        assert verdict(list(decisions), parts) == (possible.pop() if len(possible) == 1 else "inconclusive"), decisions


@pytest.mark.parametrize(
    ("decisions", "parts", "expected"),
    [
        ([True, True], False, "reproduced"),
        ([True, False], False, "not reproduced"),  # one failed condition is a failed claim
        ([True, None], False, "inconclusive"),
        ([False, None], False, "not reproduced"),
        ([None, None], False, "inconclusive"),
        ([True, False], True, "partly"),
        ([True, None], True, "inconclusive"),
        ([False, None], True, "inconclusive"),
        ([False, False], True, "not reproduced"),
    ],
)
def test_the_table_of_cases_in_the_documents(decisions, parts, expected):
    assert verdict(decisions, parts) == expected


def test_bounds_are_met_on_the_bound_and_advantages_must_be_more():
    assert Condition("m", ">=", 0.9).met(0.9) and not Condition("m", ">=", 0.9).met(0.8999)
    assert Condition("m", "<=", 0.01).met(0.01) and not Condition("m", "<=", 0.01).met(0.0101)
    assert Condition("m", ">", 0.0).met(0.001) and not Condition("m", ">", 0.0).met(0.0)


def test_made_tables_give_each_verdict(tmp_path):
    found = verdicts(
        judged(
            tmp_path,
            {
                REGIONS: 0.97,
                CONTROL: 0.1,
                DROP: 0.002,
                "outcome.region_test_gain": 0.9,
                "outcome.region_test_gain_over_baseline": -0.2,
                "outcome.test_gain_over_baseline": -0.02,
                "novelty.new_type": [0.3, 0.7] * 4,
                "novelty.new_type_above_test_errors": 0.1,
                "annotate.mean_agreement": 0.9,
                "annotate.mean_purity": 0.5,
            },
        )
    )
    assert found["correction"] == "reproduced"
    assert found["baseline"] == "not reproduced"
    assert found["novelty"] == "inconclusive"
    assert found["bugs with a name"] == "partly"
    assert found["small perturbation"] == "inconclusive"  # nothing measured
    assert found["purity and coverage"] == "measured"


def test_a_gain_that_training_on_brings_too_is_none_of_correction(tmp_path):
    good = {REGIONS: 0.99, DROP: 0.0, "annotate.accepted_regions": 2, "outcome.region_test_gain": 0.9}
    with_gain = verdicts(judged(tmp_path, {**good, CONTROL: 0.2}))
    without = verdicts(judged(tmp_path, {**good, CONTROL: 0.0}))
    assert with_gain["correction"] == with_gain["end to end"] == "reproduced"
    assert without["correction"] == without["end to end"] == "not reproduced"


def test_a_cell_without_a_region_fails_end_to_end_and_rivals_and_does_not_judge_correction(tmp_path):
    some = [True] * 5 + [False] * 3
    rows = judged(
        tmp_path,
        {
            "annotate.accepted_regions": np.where(some, 2, 0),
            **{name: np.where(some, 0.95, NAN) for name in (REGIONS, CONTROL, "outcome.region_test_gain")},
            DROP: np.where(some, 0.0, NAN),
        },
    )
    by_claim = {row["claim"]: row for row in rows if row["measure"] == DROP}
    end, correction = by_claim["end to end"], by_claim["correction"]
    assert (end["met"], end["judged"], end["seeds"], end["verdict"]) == (5, 8, 8, "inconclusive")
    assert (correction["met"], correction["judged"], correction["seeds"], correction["verdict"]) == (
        5,
        5,
        8,
        "reproduced",
    )
    assert (correction["all_met"], correction["all_judged"]) == (5, 5)
    assert (end["all_met"], end["all_judged"]) == (5, 8)
    nothing = verdicts(judged(tmp_path, {"annotate.accepted_regions": 0}))
    assert nothing["end to end"] == nothing["rivals"] == "not reproduced" and nothing["correction"] == "inconclusive"


def test_cells_that_meet_every_condition_are_counted_one_by_one(tmp_path):
    gains = {name: [0.1] * 7 + [NAN] for name in (CONTROL, "outcome.region_test_gain")}
    rows = judged(tmp_path, {REGIONS: [0.95] * 6 + [0.5, NAN], **gains, DROP: [0.5] + [0.0] * 7})
    row = next(row for row in rows if row["claim"] == "correction")
    assert (row["all_met"], row["all_judged"]) == (5, 7)  # the last cell cannot be judged on all, and misses none


def test_fewer_than_five_seeds_decide_nothing(tmp_path):
    rows = judged(tmp_path, {REGIONS: 0.97, CONTROL: 0.2, DROP: 0.002}, seeds=[0, 1, 2, 3])
    row = next(row for row in rows if row["claim"] == "correction")
    assert (row["verdict"], row["holds"], row["met"], row["judged"]) == ("inconclusive", "open", 4, 4)


def test_a_measure_that_does_not_exist_is_an_error(tmp_path):
    tables = tables_with(tmp_path, {})
    table = pd.read_csv(tables / "mnist_measures.csv", encoding="utf-8")
    write_table(tables / "mnist_measures.csv", table[table.measure != "mean_purity"])
    with pytest.raises(
        ClaimsError, match=r"no such measure: annotate.mean_purity \(bugs with a name\), annotate.mean_p"
    ):
        judge(BOUNDS, "mnist", NOISE, tables, SEEDS, NOT_LOOKED_AT)
    write_table(tables / "mnist_measures.csv", table[table.stage != "tau 0.01"])
    with pytest.raises(ClaimsError, match=r"no such measure: tau \.\.\.\.variety \(variety\)"):
        judge(BOUNDS, "mnist", NOISE, tables, SEEDS, NOT_LOOKED_AT)


def test_questions_are_about_the_arms_that_the_tables_hold(tmp_path):
    rows = judged(
        tmp_path,
        {f"tau {tau}.{name}": 0.5 for tau in ("0.01", "0.7") for name in ("variety", "agreement")}
        | {"tau 0.7.failure_rate": 0.5},
    )
    assert [row["measure"] for row in rows if row["claim"] == "variety"] == [
        f"tau {tau}.{name}" for tau in ("0.01", "0.7") for name in ("variety", "failure_rate", "agreement")
    ]


def test_the_noise_that_the_search_used_decides_on_small_perturbation(tmp_path):
    def normal(scale):
        return params.Noise({"normal": scale})

    arms = {"normal_0.1": normal(0.1), "normal_0.2": normal(0.2)}
    values = {"normal_0.1": 0.99, "normal_0.2": 0.8, "search": 0.96}
    kept = {f"noise {arm}.{name}": value for arm, value in values.items() for name in ("label_kept", "recognisable")}
    found = {
        scale: verdicts(judged(tmp_path, kept, noise=search_noise(normal(scale), arms))) for scale in (0.1, 0.2, 0.3)
    }
    assert {scale: said["small perturbation"] for scale, said in found.items()} == {
        0.1: "reproduced",
        0.2: "not reproduced",
        0.3: "reproduced",
    }


def test_tables_of_other_seeds_are_refused(tmp_path):
    with pytest.raises(ClaimsError, match=r"made from seeds \[0, 99\], params.yaml names"):
        judged(tmp_path, {}, seeds=[0, 99])


@pytest.mark.parametrize(
    ("found", "control", "kmeans", "expected"),
    [
        (0.8, 0.2, 0.3, "reproduced"),
        (0.8, 0.2, 0.8, "not reproduced"),
        (0.8, 0.75, 0.3, "not reproduced"),
        (0.3, 0.3, 0.3, "not reproduced"),
    ],
)
def test_planted_bugs_must_be_found_and_more_often_than_by_chance(tmp_path, found, control, kmeans, expected):
    values = {
        "plant_bugs.found": found,
        "plant_bugs.above_control": found - control,
        "plant_bugs.above_kmeans": found - kmeans,
    }
    assert verdicts(judged(tmp_path, values))["planted bugs"] == expected


@pytest.mark.parametrize(("dataset", "expected"), [("mnist", "not reproduced"), ("gtsrb", "reproduced")])
def test_each_data_set_has_its_own_aim_for_reconstructions(tmp_path, dataset, expected):
    values = {"identify.validation_reconstruction_accuracy": 0.96}
    assert verdicts(judged(tmp_path, values, dataset))["reconstructions"] == expected


def test_regions_must_beat_each_rival(tmp_path):
    wins = {
        f"regions against {arm}.{measure}_accuracy": 0.1
        for arm, measure in (
            ("single mistakes", "region_test"),
            ("single mistakes", "mistake_test"),
            ("k-means", "mistake_test"),
            ("more training", "mistake_test"),
        )
    }
    assert verdicts(judged(tmp_path, wins))["rivals"] == "reproduced"
    lost = {**wins, "regions against k-means.mistake_test_accuracy": 0.0}
    assert verdicts(judged(tmp_path, lost))["rivals"] == "not reproduced"


@pytest.mark.parametrize(
    ("claim", "values", "expected"),
    [
        ("released settings", {"readings.discoveries_released": 0.5}, "reproduced"),
        ("released settings", {"readings.discoveries_released": 0.51}, "not reproduced"),
        ("released settings", {"readings.discoveries_released": NAN}, "inconclusive"),  # it found no mistake
        ("released settings", {"readings.discoveries_released": [0.2] * 7 + [0.9]}, "reproduced"),
        ("released settings", {"readings.discoveries_released": [0.2] * 6 + [0.9] * 2}, "inconclusive"),
        ("repair", {"readings.accepted_above_described": 1}, "reproduced"),
        ("repair", {"readings.accepted_above_described": 0}, "not reproduced"),
        ("repair", {"readings.accepted_above_described": -3}, "not reproduced"),
        ("search beats no search", {"plant_bugs.found_beyond_no_search": 0.17}, "reproduced"),
        ("search beats no search", {"plant_bugs.found_beyond_no_search": 0.0}, "not reproduced"),
    ],
)
def test_the_readings_rules_decide_every_case(tmp_path, claim, values, expected):
    assert verdicts(judged(tmp_path, values))[claim] == expected


@pytest.mark.parametrize(
    ("advantage", "drop", "expected"),
    [
        (-0.05, 0.003, "reproduced"),
        (0.2, -0.001, "reproduced"),
        (-0.06, 0.003, "not reproduced"),
        (0.2, 0.0031, "not reproduced"),
        (NAN, 0.0, "inconclusive"),
    ],
)
def test_no_label_is_needed_if_it_repairs_about_as_much_and_keeps_the_accuracy(tmp_path, advantage, drop, expected):
    values = {"readings.no_label_above_single_labels": advantage, "readings.no_label_test_drop": drop}
    assert verdicts(judged(tmp_path, values))["no label needed"] == expected


def looked_at(**counts):
    rows = [("repaired", "accepted", word.replace("_", " "), count) for word, count in counts.items()]
    return pd.DataFrame([("released", "accepted", "wrong", 5), *rows], columns=NOT_LOOKED_AT.columns)


@pytest.mark.parametrize(
    ("by_eye", "share", "counts", "holds", "expected"),
    [
        (looked_at(right=18, wrong=1, cannot_tell=1), "0.9", (18, 20), "yes", "reproduced"),
        (looked_at(right=17, wrong=3), "0.85", (17, 20), "no", "not reproduced"),
        (looked_at(right=17, cannot_tell=3), "0.85", (17, 20), "no", "not reproduced"),  # not right
        (looked_at(wrong=20), "0", (0, 20), "no", "not reproduced"),
        (looked_at(right=20), "1", (20, 20), "yes", "reproduced"),
        (looked_at(right=5), "1", (5, 5), "yes", "reproduced"),  # fewer are accepted: all must be right
        (looked_at(right=4, wrong=1), "0.8", (4, 5), "no", "not reproduced"),
        (looked_at(right=4), "1", (4, 4), "open", "inconclusive"),  # too few to decide anything
        (looked_at(), "nan", (0, 0), "open", "inconclusive"),  # none accepted, or another sheet judged alone
        (NOT_LOOKED_AT, "nan", (0, 0), "open", "inconclusive"),
    ],
)
def test_one_judgement_of_the_repaired_sheet_decides_what_is_right_by_eye(
    tmp_path, by_eye, share, counts, holds, expected
):
    rows = [row for row in judged(tmp_path, {}, by_eye=by_eye) if row["claim"] == "right by eye"]
    (row,) = rows
    assert (row["values"], row["holds"], row["verdict"]) == (share, holds, expected)
    assert (row["met"], row["judged"]) == (row["all_met"], row["all_judged"]) == counts
    assert tuple(row) == COLUMNS and row["rule"] == ">= 0.9" and row["file"].endswith("/by_eye.csv")


def test_values_stand_in_the_order_of_the_seeds_of_the_params(tmp_path):
    rows = judged(tmp_path, {"annotate.mean_purity": [0.5, 0.1, 0.7]}, seeds=(4, 0, 2))
    assert next(row for row in rows if row["measure"] == "annotate.mean_purity")["values"] == "0.5 0.1 0.7"


def test_every_claim_of_the_post_has_a_rule_and_no_number_is_put_in_the_papers_mouth(tmp_path):
    rules = [claim.source for claim in claims(BOUNDS, "mnist", NOISE) if claim.conditions]
    assert {source: rules.count(source) for source in rules} == {"blog": 6, "later work": 2, "design": 1, "ours": 5}
    rows = judged(tmp_path, {"annotate.mean_purity": [0.5, NAN, 0.7, 0.1, 0.2, 0.3, 0.4, 1.0]})
    assert all(row["paper_value"] == "" for row in rows)
    assert all(tuple(row) == COLUMNS for row in rows)
    row = next(row for row in rows if row["measure"] == "annotate.mean_purity")
    assert row["stage"] == "annotate, summarize@mnist"
    assert row["values"] == "0.5 nan 0.7 0.1 0.2 0.3 0.4 1" and row["median"] == pytest.approx(0.4)
    assert row["low"] >= 0.1 and row["high"] <= 1.0


def test_each_value_names_stages_of_the_pipeline_that_measured_and_gathered_it(tmp_path):
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    rows = judged(tmp_path, {})
    said = {(row["claim"], row["measure"]): row["stage"].split(", ") for row in rows}
    for (_, measure), named in said.items():
        assert named[-1] == ("compare_by_eye@mnist" if measure.startswith("by_eye") else "summarize@mnist")
        assert {name.removesuffix("@mnist") for name in named} <= set(stages)
    assert said["end to end", "outcome.test_drop"] == ["correct", "finetune_baseline", "summarize@mnist"]
    assert said["region failure", "accepted regions.failure_rate"] == ["annotate", "summarize@mnist"]
    assert said["rivals", "regions against k-means.mistake_test_accuracy"][0] == "compare_readings"
    assert said["small perturbation", f"noise {NOISE}.label_kept"][0] == "ablate_noise"
    assert {stages_of(f"{name}.x", "mnist").partition(",")[0] for name in ("VAE x", "mixture 2 1/K")} == {
        "ablate_vae",
        "ablate_regions",
    }
