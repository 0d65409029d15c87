"""The regions' rivals: other clusterings, single mistakes, and the comparison itself."""

import numpy as np
import pandas as pd
import pytest
import tiny_cell
import torch
from hypothesis import given
from hypothesis import strategies as some
from test_correction import MACHINE, RECIPE, SETTINGS, small_problem

from defuse.core import params
from defuse.core.random_streams import Streams
from defuse.core.storage import read_table
from defuse.evidence.tables import rival_measures
from defuse.method.correction import choose_arm, correct, draw_batches
from defuse.models.evaluation import accuracy
from defuse.models.subject import Subject
from defuse.studies.rivals import Rival, compare_rivals, single_mistakes, split_by_seed

STREAMS = Streams(0, ("test",))
READING = params.Reading(
    autoencoder="train_vae",
    noises=[params.Noise({"normal": 0.3})],
    draws=2,
    keep=1,
    include_reconstruction_failures=False,
    checker=False,
    groups="mixture",
    shown="draws",
    abstention=True,
)
RIVALS = params.CompareReadings(
    seed_images=10,
    judged_mistakes=10,
    measured_images=5,
    minimum_members=4,
    blends_passed=0.05,
    minimum_originals=0.8,
    maximum_blends=0.3,
    released=READING,
    repaired=READING,
    without=[],
    lambdas=[0.1, 1.0],
    validation_share=0.2,
    kmeans_starts=1,
)
BASELINE = params.FinetuneBaseline(
    learning_rates=[0.001, 0.05],
    optimizer="sgd",
    momentum=0.9,
    weight_decay=0.0,
    batch_size=8,
    steps=6,
    maximum_accuracy_drop=0.01,
)


def test_single_mistakes_keep_their_label_and_all_that_were_looked_at_are_paid_for():
    images = torch.arange(10.0)[:, None, None, None].expand(10, 1, 32, 32)
    labels, is_mistake = np.arange(10) % 3, np.arange(10) % 2 == 0
    rival = single_mistakes(images, labels, is_mistake, np.arange(10), 0.4, STREAMS.numpy("validation"))
    assert rival.labels_asked == 10 and len(rival.training[1]) == 3 and len(rival.validation[1]) == 2
    numbers = [number for part in (rival.training, rival.validation) for number in part[0][:, 0, 0, 0].int().tolist()]
    assert sorted(numbers) == [0, 2, 4, 6, 8]
    assert torch.cat([rival.training[1], rival.validation[1]]).tolist() == [number % 3 for number in numbers]


def test_lambda_is_not_chosen_on_siblings_of_the_mistakes_trained_on():
    images = torch.arange(12.0)[:, None, None, None].expand(12, 1, 32, 32)
    seed_index = np.repeat([3, 5, 8, 9], 3)
    everything = np.ones(12, bool)
    rival = single_mistakes(images, np.zeros(12, int), everything, seed_index, 0.2, STREAMS.numpy("validation"))
    parts = [set(seed_index[part[0][:, 0, 0, 0].int()]) for part in (rival.training, rival.validation)]
    assert parts[0].isdisjoint(parts[1]) and [len(part) for part in parts] == [3, 1]


@given(some.lists(some.integers(0, 6), max_size=30), some.integers(0, 40), some.integers(0, 5))
def test_a_split_by_seed_keeps_siblings_together_and_ends_before_the_seed_that_no_longer_fits(
    seeds, count, random_state
):
    seeds = np.array(seeds, np.int64)
    first, rest = split_by_seed(seeds, count, np.random.default_rng(random_state))
    assert sorted([*first, *rest]) == list(range(len(seeds)))
    assert set(seeds[first]).isdisjoint(seeds[rest]) and len(first) <= count
    assert len(rest) == 0 or len(first) + np.bincount(seeds[rest]).max() > count


def test_seed_images_are_drawn_alike_whatever_the_number_of_their_mistakes():
    seeds = np.repeat([0, 1], [5, 1])
    firsts = [set(seeds[split_by_seed(seeds, 5, np.random.default_rng(state))[0]]) for state in range(40)]
    assert 10 < firsts.count({0}) < 30 and firsts.count({0}) + firsts.count({1}) == 40


def test_the_stage_trains_chooses_and_measures_on_mistakes_of_different_seed_images(
    tmp_path, shipped_tree, monkeypatch
):
    used = []
    tree = tiny_cell.small_params(shipped_tree, annotate={"annotated_mistakes": 60})
    monkeypatch.chdir(tmp_path)
    tiny_cell.write_project(tmp_path, tree)
    for stage in tiny_cell.BEFORE_READINGS:
        tiny_cell.run_stage(stage)

    def recorded(*arguments):
        used.append(arguments[3])
        return single_mistakes(*arguments)

    monkeypatch.setattr("experiments.shared.described.single_mistakes", recorded)
    tiny_cell.run_stage("compare_readings")
    within_budget, pool, held_out = used
    assert len(set(pool)) < len(pool)  # there are siblings
    assert set(pool).isdisjoint(held_out) and set(within_budget) <= set(pool)
    table = read_table(tmp_path / "artifacts/compare_readings/digits/0/rivals.csv").set_index("arm")
    asked, budget = table.labels_asked["single mistakes"], table.labels_asked["regions"]
    assert asked == len(within_budget) and budget - 4 < asked <= budget
    assert len(within_budget) == np.isin(pool, within_budget).sum()  # none of a seed image is left over


@pytest.fixture
def setting():
    classifier, training, labelled, _ = small_problem(24)
    nothing = training[0][:0], training[1][:0]
    rivals = {
        "regions": Rival((labelled[0][:12], labelled[1][:12]), (labelled[0][12:18], labelled[1][12:18]), 30),
        "single mistakes": Rival((labelled[0][:2], labelled[1][:2]), (labelled[0][2:4], labelled[1][2:4]), 30),
        "k-means": Rival(nothing, nothing, 20),
    }
    data = {
        "validation": training,
        "test": training,
        "region_test": (labelled[0][18:], labelled[1][18:]),
        "mistake_test": nothing,
    }
    return classifier, training, rivals, data


def rows_of(setting):
    classifier, training, rivals, data = setting
    rows = compare_rivals(
        Subject(classifier, None, MACHINE),  # no arm makes an image
        {
            "more training": draw_batches(training, SETTINGS, STREAMS.torch("training")),
            "more training, augmented": draw_batches(
                (1 - training[0], training[1]), SETTINGS, STREAMS.torch("training")
            ),
        },
        rivals,
        data,
        RIVALS,
        SETTINGS,
        BASELINE,
        RECIPE,
        STREAMS,
    )
    return {row["arm"]: row for row in rows}


def test_each_arm_says_what_it_cost_and_what_it_was_trained_with(setting):
    rows = rows_of(setting)
    assert [(arm, row["labels_asked"], row["images"]) for arm, row in rows.items()] == [
        ("before", 0, 0),
        ("more training", 0, 0),
        ("more training, augmented", 0, 0),
        ("regions", 30, 12),
        ("single mistakes", 30, 2),
        ("k-means", 20, 0),
        ("baseline: mistakes alone", 30, 2),
    ]
    assert rows["regions"]["lambda"] in RIVALS.lambdas and rows["regions"]["learning_rate"] is None
    assert rows["baseline: mistakes alone"]["learning_rate"] in BASELINE.learning_rates
    assert rows["more training"]["lambda"] == 0
    assert rows["before"]["lambda"] is None and np.isnan(rows["before"]["mistake_test_accuracy"])


def test_an_arm_without_images_has_no_accuracy(setting):
    row = rows_of(setting)["k-means"]
    assert [row[f"{name}_accuracy"] for name in ("validation", "test", "region_test")] == [None] * 3


def test_lambda_and_the_baselines_rate_may_cost_what_their_own_settings_allow(setting, monkeypatch):
    allowed = []

    def recorded(arms, start, maximum_drop):
        allowed.append(maximum_drop)
        return choose_arm(arms, start, maximum_drop)

    monkeypatch.setattr("defuse.studies.rivals.choose_arm", recorded)
    rows_of(setting)
    assert allowed == [SETTINGS.maximum_accuracy_drop] * 2 + [BASELINE.maximum_accuracy_drop]
    assert SETTINGS.maximum_accuracy_drop != BASELINE.maximum_accuracy_drop


def test_an_arm_that_diverges_at_each_value_leaves_the_classifier_as_it_was(setting, monkeypatch):
    monkeypatch.setattr("test_rivals.RIVALS", RIVALS.model_copy(update={"lambdas": (1e30, 1e31)}))
    rows = rows_of(setting)
    assert rows["regions"]["lambda"] is None and rows["regions"]["test_accuracy"] is None
    table = pd.DataFrame(rows.values()).assign(seed=0)
    values = rival_measures(table).set_index(["stage", "measure"]).value
    assert values["regions against before", "test_accuracy"] == 0
    assert values["regions against more training", "test_accuracy"] == pytest.approx(
        rows["before"]["test_accuracy"] - rows["more training"]["test_accuracy"]
    )


def test_single_mistakes_of_two_seed_images_are_one_to_train_on_and_one_to_choose_by():
    images = torch.zeros(2, 1, 32, 32)
    rival = single_mistakes(images, np.zeros(2, int), np.ones(2, bool), np.arange(2), 0.2, STREAMS.numpy("validation"))
    assert len(rival.training[1]) == len(rival.validation[1]) == 1


def test_an_arm_is_a_correction_from_the_start_on_the_same_batches(setting):
    classifier, training, rivals, data = setting
    rows = rows_of(setting)
    batches = [
        draw_batches(images, SETTINGS, STREAMS.torch(purpose))
        for images, purpose in ((training, "training"), (rivals["regions"].training, "own"))
    ]
    network = correct(classifier, *batches, rows["regions"]["lambda"], SETTINGS, RECIPE, MACHINE, "test")
    assert rows["regions"]["region_test_accuracy"] == accuracy(network, *data["region_test"])
    plain = correct(classifier, batches[0], None, 0.0, SETTINGS, RECIPE, MACHINE, "test")
    assert rows["more training"]["region_test_accuracy"] == accuracy(plain, *data["region_test"])
    assert rows["before"]["test_accuracy"] == accuracy(classifier, *data["test"])
