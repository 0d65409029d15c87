"""Readings: searches with several noises, groups, members divided by seed image, and what is made of them."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_cell
import torch
from hypothesis import given
from hypothesis import strategies as some
from test_identification import NORMAL, scattered, search, seeds_at, toy
from test_region_ablation import ANNOTATE, DISTILL, annotators, regions_at
from test_rivals import RIVALS, STREAMS

from defuse.core import params
from defuse.core.storage import load_arrays, read_table
from defuse.core.verdicts import RegionVerdict
from defuse.method.annotation import ABSTAIN
from defuse.method.identification import join_mistakes
from defuse.studies.checker import Checker
from defuse.studies.readings import (
    Searches,
    Study,
    group,
    kept_mistakes,
    largest_pairs,
    take_reading,
    unlabelled_and_single,
    unseen_mistakes,
)
from defuse.studies.region_images import (
    annotate_regions,
    draw_images,
    failure_and_purity,
    member_images,
    reading_row,
    region_rival,
    region_rows,
    shown_arrays,
)

MANY = DISTILL.model_copy(
    update={"shown_samples": 3, "correction_samples": 50, "validation_samples": 50, "test_samples": 50}
)
LARGE = params.Noise({"normal": 1.0})
READING = params.Reading(
    autoencoder="train_vae",
    noises=[NORMAL, LARGE],
    draws=20,
    keep=3,
    include_reconstruction_failures=False,
    checker=False,
    groups="pairs",
    shown="members",
    abstention=True,
)


def reading(**changes):
    return READING.model_copy(update=changes)


def study(checker=None, **changes):
    always = Checker(None, 0.0, 1.0, 0.0, works=True)
    return Study(annotators(), checker or always, RIVALS.model_copy(update=changes), MANY, ANNOTATE, 5, STREAMS)


def mistakes_at(*codes, label=0, prediction=1, seed_index=None):
    """Mistakes of the pixel network at these codes."""
    found = search(seeds_at(np.full((len(codes), 2), 0.1), np.zeros(len(codes), int)), keep=1)
    count = len(codes)
    return replace(
        found,
        codes=np.array(codes, np.float32)[:, None],
        label=np.full(count, label),
        prediction=np.full(count, prediction),
        seed_index=np.arange(count) if seed_index is None else np.array(seed_index),
        **{name: np.zeros(count, bool) for name in ("raw_failure", "reconstruction_failure")},
        noise_norm=np.zeros(count, np.float32),
    )


def searches(seeds):
    found = Searches({"train_vae": toy()}, {}, {}, STREAMS)
    found.prepared["train_vae", "train"] = seeds
    return found


def test_a_reading_finds_what_each_of_its_noises_finds_alone():
    seeds = scattered(60)
    both = searches(seeds).mistakes(READING, "train")
    alone = [searches(seeds).mistakes(reading(noises=(noise,)), "train") for noise in READING.noises]
    np.testing.assert_array_equal(both.codes, join_mistakes(alone).codes)
    assert both.draws == 2 * 60 * 20 and both.wrong_draws == sum(found.wrong_draws for found in alone)
    assert all(len(found.label) for found in alone)


def test_mistakes_of_the_vae_stay_only_where_a_reading_includes_them():
    seeds = replace(scattered(60), reconstruction_prediction=1 - scattered(60).label)
    seeds = replace(seeds, raw_prediction=seeds.label)
    assert len(searches(seeds).mistakes(READING, "train").label) == 0
    assert len(searches(seeds).mistakes(reading(include_reconstruction_failures=True), "train").label) > 0


def test_the_same_search_is_made_once(monkeypatch):
    made = []

    def counted(*arguments):
        made.append(arguments[2].noise)
        return search(arguments[1])

    monkeypatch.setattr("defuse.studies.readings.find_mistakes", counted)
    found = searches(scattered(20))
    for changes in ({}, {"checker": True}, {"groups": "mixture"}, {"noises": (NORMAL,)}, {"shown": "draws"}):
        found.mistakes(reading(**changes), "train")
    assert made == [NORMAL, LARGE]


def test_the_checker_keeps_the_mistakes_whose_seeds_label_it_sees():
    class Kept(Checker):
        def passes(self, images, labels):
            return images.flatten().numpy() > 0.1

    found, vae = mistakes_at(0.05, 0.2, 0.3), annotators().subject.vae
    checker = Kept(None, 0.0, 1.0, 0.0, works=True)
    kept, images = kept_mistakes(checker, vae, found, reading(checker=True))
    assert kept.seed_index.tolist() == [1, 2] and images.shape[0] == 2
    assert len(kept_mistakes(checker, vae, found, READING)[0].label) == 3


def test_mistakes_are_looked_at_once_for_all_readings_that_differ_in_what_follows(monkeypatch):
    looked = []

    def counted(checker, vae, found, reading):
        looked.append(reading)
        return kept_mistakes(checker, vae, found, reading)

    monkeypatch.setattr("defuse.studies.readings.kept_mistakes", counted)
    found, checker = searches(scattered(20)), study().checker
    for changes in ({}, {"groups": "mixture"}, {"shown": "draws"}, {"abstention": False}):
        found.kept(checker, reading(**changes), "train")
    assert looked == [READING]
    for changes in ({"noises": (NORMAL,)}, {"include_reconstruction_failures": True}, {"keep": 1}):
        found.kept(checker, reading(**changes), "train")
    assert len(looked) == 4


def test_pairs_are_never_mixed_and_a_region_of_members_has_enough_seed_images():
    generator = np.random.default_rng(0)
    codes = generator.normal(0, 1, 200)
    found = mistakes_at(*codes)
    found = replace(found, label=np.repeat([0, 1], 100), prediction=np.repeat([1, 2, 0], [100, 60, 40]))
    regions = group(found, READING, 8, MANY, 4, 0)
    pairs = [set(zip(found.label[own], found.prediction[own])) for own in members_of(regions)]
    assert len(regions) == 4 and all(len(pair) == 1 for pair in pairs) and len(set.union(*pairs)) == 3
    assert list(regions.weight) == sorted(regions.weight, reverse=True)

    of_few_seeds = replace(found, seed_index=np.arange(200) % 7)
    assert len(group(of_few_seeds, READING, 8, MANY, 4, 0)) == 0
    assert len(group(of_few_seeds, reading(shown="draws"), 8, MANY, 4, 0)) == 4


def test_one_mixture_for_all_gives_no_more_regions_than_the_budget():
    codes = np.concatenate([np.random.default_rng(0).normal(centre, 0.1, 50) for centre in (-5, 0, 5)])
    found = mistakes_at(*codes)
    distill = MANY.model_copy(update={"fit_codes": 150, "components": 3, "max_iterations": 300})
    assert len(group(found, reading(groups="mixture"), 8, distill, 9, 0)) == 3
    two = group(found, reading(groups="mixture"), 8, distill, 2, 0)
    assert len(two) == 2 and (two.assignment == -1).sum() == pytest.approx(50, abs=2)


def members_of(regions):
    return [regions.assignment == region for region in range(len(regions))]


@given(some.lists(some.integers(0, 9), min_size=8, max_size=60), some.integers(0, 5))
def test_no_seed_image_has_members_that_are_trained_on_and_members_that_are_measured_on(seeds, state):
    seeds = np.array(seeds, np.int64)
    images = torch.arange(float(len(seeds)))[:, None, None, None]
    assignment = np.arange(len(seeds)) % 2 - 1  # every other is in region 0
    parts = member_images(images, seeds, assignment, 1, MANY, np.random.default_rng(state))
    numbers = {name: part[0].flatten().long().numpy() for name, part in vars(parts).items()}
    assert set(numbers["shown"]) <= set(numbers["correction"]) and len(numbers["shown"]) <= 3
    assert len(set(seeds[numbers["shown"]])) == len(numbers["shown"])  # one of each
    divided = [set(seeds[numbers[name]]) for name in ("correction", "validation", "test")]
    assert sum(map(len, divided)) == len(set.union(*divided))
    together = np.concatenate([numbers[name] for name in ("correction", "validation", "test")])
    assert sorted(together) == sorted(np.flatnonzero(assignment == 0))


def test_annotators_without_abstention_always_name_a_class():
    shown = [torch.full((4, 1, 1, 1), 0.5)]  # where the oracles are unsure
    unsure = annotators(unsure=0.4)
    votes = [
        annotate_regions(unsure, shown, ANNOTATE, abstention, np.random.default_rng(0))[0].votes
        for abstention in (True, False)
    ]
    assert (votes[0] == ABSTAIN).all() and (votes[1] != ABSTAIN).all()


def test_only_accepted_regions_are_trained_on_with_their_label_and_all_are_paid_for():
    distill = MANY.model_copy(update={"shown_samples": 4, "correction_samples": 5, "validation_samples": 3})
    # The classifier calls both of the outer ones rightly; the middle one fails.
    images = draw_images(annotators().subject.vae, regions_at(-0.5, 0.1, 0.2), distill, STREAMS)
    annotated = annotate_regions(annotators(), images.shown, ANNOTATE, True, np.random.default_rng(0))
    assert [region.accepted for region in annotated] == [False, True, False]
    rival = region_rival(images, annotated)
    assert rival.labels_asked == 3 * 4
    for part, count in ((rival.training, 5), (rival.validation, 3), (rival.test, 50)):
        assert part[0].shape == (count, 1, 1, 1) and part[0].mean() == pytest.approx(0.1, abs=1e-3)
        assert part[1].tolist() == [0] * count


def pixels(*values):
    return torch.tensor(values)[:, None, None, None]


def test_failure_is_a_consensus_against_the_classifier_and_purity_its_most_frequent_pair():
    # The classifier calls a pixel above 0 class 1; the oracles those above 0.15 class 1, and nothing above 0.4.
    images = pixels(0.1, 0.1, 0.2, 0.5)
    failure, purity = failure_and_purity(annotators(unsure=0.4), images)
    assert failure == pytest.approx(2 / 3) and purity == pytest.approx(2 / 4)
    assert np.isnan(failure_and_purity(annotators(), images[:0])).all()


def test_a_reading_counts_its_regions_by_verdict_and_measures_the_accepted_ones():
    shown = [pixels(0.1, 0.1, 0.1), pixels(-0.5, -0.5, -0.5), pixels(0.5, 0.5, 0.5)]
    asked = annotators(unsure=0.4)
    annotated = annotate_regions(asked, shown, ANNOTATE, True, np.random.default_rng(0))
    held_out = [pixels(0.1, 0.2), pixels(0.1), pixels(0.1)]
    draws = [pixels(0.2), pixels(0.1), pixels(0.1)]
    rows = region_rows(asked, annotated, held_out, draws, np.array([6, 3, 1]), 20, True)
    assert [row["verdict"] for row in rows] == ["accepted", "false alarm", "not recognisable"]
    assert [row["share_of_mistakes"] for row in rows] == [0.3, 0.15, 0.05]
    row = reading_row(rows, 9)
    assert (row["regions"], row["accepted"], row["false_alarms"], row["not_recognisable_regions"]) == (3, 1, 1, 1)
    assert (row["member_failure"], row["draw_failure"], row["labels_asked"]) == (0.5, 0.0, 9)


def test_a_reading_without_a_region_has_counts_of_zero_and_no_measure():
    row = reading_row([], 0)
    assert row["regions"] == row["accepted"] == 0
    assert np.isnan([row[name] for name in ("mean_agreement", "mean_purity", "member_failure", "draw_failure")]).all()


def test_what_was_shown_is_kept_in_the_order_asked_for_and_filled_up_with_black():
    shown = [pixels(0.1, 0.1), pixels(1.0)]
    annotated = annotate_regions(annotators(), shown, ANNOTATE, True, np.random.default_rng(0))
    arrays = shown_arrays(shown, annotated, np.array([1, 0]), 2, shown[0][0])
    assert arrays["region"].tolist() == [1, 0] and arrays["shown"].tolist() == [1, 2]
    assert arrays["images"][..., 0, 0, 0].tolist() == [[255, 0], [26, 26]]
    assert arrays["prediction"].tolist() == [[1, ABSTAIN], [1, 1]]
    assert arrays["votes"].shape == (2, 2, 3) and (arrays["votes"][0, 1] == ABSTAIN).all()


@pytest.mark.parametrize(("minimum", "expected"), [(1, [0, 0, 0, 1, 1, 2]), (2, [0, 0, 0, 1, 1, -1]), (4, [-1] * 6)])
def test_the_largest_pair_comes_first_and_small_ones_are_none(minimum, expected):
    labels, predictions = np.array([3, 3, 3, 3, 3, 0]), np.array([5, 5, 5, 1, 1, 5])
    assert largest_pairs(labels, predictions, minimum).tolist() == expected


def test_a_reading_goes_from_mistakes_to_labelled_images_of_its_members():
    found = mistakes_at(*np.linspace(0.05, 0.12, 40), seed_index=np.arange(40) % 20)
    own = study(minimum_members=8)
    kept = kept_mistakes(own.checker, own.annotators.subject.vae, found, READING)
    result = take_reading(own, own.annotators, found, kept, READING, STREAMS)
    assert result.row["identified"] == result.row["mistakes"] == 40 and result.row["classifier_mistake"] == 1
    assert result.row["accepted"] == result.row["regions"] > 0
    assert result.row["labels_asked"] == sum(len(part) for part in result.shown)
    assert set(result.rival.training[1].tolist()) == {0}
    values = set(result.rival.training[0].flatten().tolist())
    assert values <= set(torch.from_numpy(found.codes).flatten().tolist())  # members, not draws
    assert values.isdisjoint(result.rival.test[0].flatten().tolist())


def test_without_a_label_all_kept_mistakes_are_trained_on_and_single_labels_are_those_that_fit_the_budget():
    found = mistakes_at(*np.linspace(0.05, 0.25, 40))  # above 0.15 the annotators side with the classifier
    rivals = unlabelled_and_single(study(), kept_mistakes(None, annotators().subject.vae, found, READING))
    nobody, single = rivals["no label asked"], rivals["single labels"]
    assert nobody.labels_asked == 0 and len(nobody.training[1]) + len(nobody.validation[1]) == 40
    assert single.labels_asked == 5 * 3
    assert 0 < len(single.training[1]) + len(single.validation[1]) < 15
    assert float(single.training[0].max()) <= 0.15


def test_unseen_mistakes_are_those_that_annotators_call_the_classifiers():
    images, labels = unseen_mistakes(annotators(), mistakes_at(0.1, 0.2, 0.12), 10, np.random.default_rng(0))
    assert sorted(images.flatten().tolist()) == pytest.approx([0.1, 0.12]) and labels.tolist() == [0, 0]
    assert len(unseen_mistakes(annotators(), mistakes_at(0.1, 0.1, 0.1), 2, np.random.default_rng(0))[1]) == 2


def test_each_thing_is_taken_away_alone_and_the_main_chains_is_in_its_place():
    own = params.Noise({"beta": 50.0})
    settings = RIVALS.model_copy(
        update={"repaired": reading(checker=True), "without": ("checker", "pairs", "members", "noises")}
    )
    compared = params.compared_readings(settings, own)
    repaired = compared["repaired"].model_dump()
    changed = {
        name: {key: value for key, value in other.model_dump().items() if value != repaired[key]}
        for name, other in compared.items()
        if name.startswith("without")
    }
    assert changed == {
        "without_checker": {"checker": False},
        "without_pairs": {"groups": "mixture"},
        "without_members": {"shown": "draws"},
        "without_noises": {"noises": ({"beta": 50.0},)},
    }
    assert set(params.compared_readings(RIVALS, own)) == {"released", "repaired"}


def test_joined_searches_keep_each_mistake_with_its_facts():
    first, second = search(scattered(30)), search(scattered(20, seed=1), draws=5, keep=2)
    joined = join_mistakes([first, second])
    assert joined.draws == 30 * 20 + 20 * 5 and len(joined.label) == len(first.label) + len(second.label)
    later = np.arange(len(first.label), len(joined.label))
    for name in ("seed_index", "label", "prediction", "codes"):
        np.testing.assert_array_equal(getattr(joined.take(later), name), getattr(second, name))


def test_a_whole_cell_writes_every_reading_and_every_rival(tmp_path, shipped_tree, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_cell.write_project(tmp_path, tiny_cell.small_params(shipped_tree))
    for stage in tiny_cell.BEFORE_READINGS:
        tiny_cell.run_stage(stage)
    tiny_cell.run_stage("compare_readings")
    folder = tmp_path / "artifacts/compare_readings/digits/0"
    readings = read_table(folder / "readings.csv").set_index("reading")
    without = {f"without_{name}" for name in ("checker", "pairs", "members", "noises")}
    assert set(readings.index) == {"released", "described", "repaired", "no search"} | without
    described = read_table(tmp_path / "artifacts/annotate/digits/0/regions.csv")
    assert readings.accepted["described"] == (described.verdict == RegionVerdict.ACCEPTED).sum()
    assert (readings.regions <= len(described)).all() and (readings.labels_asked <= 3 * readings.regions).all()
    arms = read_table(folder / "rivals.csv").set_index("arm")
    assert {"released", "regions", "repaired", "no label asked", "no search", "single labels"} <= set(arms.index)
    assert {f"{name}_mistakes_accuracy" for name in ("released", "described", "repaired")} <= set(arms)
    regions = read_table(folder / "reading_regions.csv")
    for name in ("released", "repaired"):
        shown = load_arrays(folder / f"shown_{name}.npz")
        own = regions[regions.reading == name]
        assert sorted(shown["region"]) == sorted(own.region) and len(own) == readings.regions[name]


def test_a_pair_with_few_seed_images_is_one_region_and_not_many_that_are_too_small_to_be_any():
    codes = np.random.default_rng(0).normal(0, 1, 120)
    found = replace(mistakes_at(*codes), label=np.repeat([0, 1], 60), prediction=np.repeat([1, 0], 60))
    found = replace(found, seed_index=np.repeat(np.arange(24), 5))  # twelve of each pair
    regions = group(found, READING, 8, MANY, 20, 0)
    assert [int(own.sum()) for own in members_of(regions)] == [60, 60]
