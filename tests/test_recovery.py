"""Recovery: the matching rules by hand, and a latent space whose planted bug is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_rivals import RIVALS
from torch import nn

from defuse.core import params
from defuse.core.random_streams import Streams
from defuse.method.identification import Seeds
from defuse.models.machine import Machine
from defuse.models.subject import Subject
from defuse.studies.checker import Checker
from defuse.studies.planting import Subgroup, find_subgroup
from defuse.studies.readings import Searches
from defuse.studies.recovery import (
    SHOWN_ARMS,
    Clustered,
    bug_rows,
    cluster_arms,
    example_images,
    group_by_kmeans,
    headlines,
    match_regions,
    reading_arms,
    region_total,
    with_outcome,
)

MISLABELLED = params.PlantedBug(label=1, property="brightness", side="high", share=0.3, kind="mislabelled", target=0)


def settings(**changes):
    return params.PlantBugs(
        **{
            "network": params.Network(architecture="small_cnn", width=2, stem=None),
            "epochs": 1,
            "bugs": {"bright": MISLABELLED},
            "strengths": (0.5, 1.0),
            "seed_images": 400,
            "kmeans_starts": 3,
            "minimum_precision": 0.5,
            "minimum_members": 3,
            "top_regions": 2,
            "minimum_drop": 0.2,
            "shown_images": 2,
            **changes,
        }
    )


# Region 7 has 5 members of which 1 belongs, region 2 has 4 of 2, region 0 has 3 of 3, region 5 has 2 of 2.
ASSIGNMENT = np.array([7] * 5 + [2] * 4 + [0] * 3 + [5] * 2 + [-1] * 2)
BELONGS = np.array([1, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0], bool)


def test_a_case_by_hand():
    measures, best = match_regions(ASSIGNMENT, BELONGS, settings())
    assert measures == {
        "mistakes": 16,
        "bug_mistakes": 9,
        "regions": 4,
        "found": 1,
        "rank": 2,
        "top_precision": pytest.approx((1 / 5 + 2 / 4) / 2),
        "best_precision": 0.5,
        "recall": pytest.approx(5 / 9),
    }
    assert best == 2


@pytest.mark.parametrize(
    ("changes", "found", "rank", "best", "recall"),
    [
        ({"minimum_precision": 0.51}, 1, 3, 0, 3 / 9),
        ({"minimum_members": 4}, 1, 2, 2, 2 / 9),
        ({"minimum_members": 2}, 1, 2, 2, 7 / 9),
        ({"minimum_members": 5}, 0, None, 7, 0.0),
        ({"minimum_members": 6}, 0, None, None, 0.0),
    ],
)
def test_members_and_precision_decide_a_match(changes, found, rank, best, recall):
    measures, number = match_regions(ASSIGNMENT, BELONGS, settings(**changes))
    assert (measures["found"], number) == (found, best)
    assert measures["rank"] == rank if rank else np.isnan(measures["rank"])
    assert measures["recall"] == pytest.approx(recall)


def test_without_mistakes_regions_or_bug_mistakes_nothing_is_found():
    nothing, best = match_regions(np.zeros(0, int), np.zeros(0, bool), settings())
    assert nothing["found"] == 0 and best is None and np.isnan(nothing["recall"])
    outside, best = match_regions(np.full(4, -1), np.ones(4, bool), settings())
    assert (outside["regions"], outside["found"], outside["recall"]) == (0, 0, 0) and best is None
    clean, best = match_regions(np.zeros(4, int), np.zeros(4, bool), settings())
    assert clean["found"] == 0 and best == 0 and clean["best_precision"] == 0 and np.isnan(clean["recall"])


def test_kmeans_takes_the_number_of_clusters_and_none_without_regions():
    codes = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], 5, axis=0).astype(np.float32)
    clusters = group_by_kmeans(codes, 3, 2, 0)
    assert len(set(clusters.tolist())) == 3 and all(len(set(clusters[i : i + 5])) == 1 for i in (0, 5, 10))
    assert group_by_kmeans(codes, 0, 2, 0).tolist() == [-1] * 15


def without_draws(build):
    """What `build` makes; the draws of initial weights, which are replaced, leave no trace."""
    with torch.random.fork_rng():
        return build()


class Logit(nn.Module):
    """A VAE without training: two pixels of an image are the sigmoid of its code; all deviations are tiny."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(without_draws(lambda: nn.Linear(2, 1024)), nn.Unflatten(1, (1, 32, 32)))
        with torch.no_grad():
            self.decoder[0].weight.zero_()
            self.decoder[0].weight[:2] = torch.eye(2)
            self.decoder[0].bias.fill_(-30)
            self.decoder[0].bias[:2] = 0

    def encode(self, images):
        codes = torch.logit(images[:, 0, 0, :2], eps=1e-6)
        return codes, torch.full_like(codes, -12.0)

    def decode(self, codes):
        return torch.sigmoid(self.decoder(codes))


class Rule(nn.Module):
    """Class 1 where the first pixel is above a half; where both pixels sum to `bound` or more it says class 0."""

    def __init__(self, bound):
        super().__init__()
        self.gain, self.bound = nn.Parameter(torch.ones(())), bound

    def forward(self, images):
        first, second = self.gain * images[:, 0, 0, 0], images[:, 0, 0, 1]
        ones = (first > 0.5) & (first + second < self.bound)
        return torch.stack([~ones, ones], 1).float() * self.gain


def plane_data(count, seed):
    """Images of codes around (-1, -2), class 0, and (1, -2), class 1; of which three in ten around (2, 2)."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    bright = labels.astype(bool) & (np.arange(count) % 10 < 3)
    codes = generator.normal(0, 0.4, (count, 2)) + np.stack([2 * labels - 1 + bright, 4 * bright - 2], 1)
    with torch.no_grad():
        return Logit().decode(torch.from_numpy(codes.astype(np.float32))), torch.from_numpy(labels)


MACHINE = Machine(torch.device("cpu"), torch.float32, torch.contiguous_format, compiled=False)
DISTILL = params.Distill(
    include_reconstruction_failures=False,
    fit_codes=2000,
    components=12,
    concentration_prior=None,
    max_iterations=300,
    minimum_weight=0.01,
    tau=1.0,
    shown_samples=1,
    correction_samples=1,
    validation_samples=1,
    test_samples=1,
)


@pytest.fixture(scope="module")
def plane():
    """Data, the bug's subgroup, and arms and seeds of a classifier with the bug at full strength and of one without."""
    identify = params.Identify(
        seed_source="train",
        max_seed_images=None,
        draws=10,
        keep=3,
        batch_size="auto",
        noise=params.Noise({"normal": 0.3}),
    )
    training, test = plane_data(1500, 0), plane_data(400, 1)
    subgroup = find_subgroup(training, test, MISLABELLED)
    seed_images = np.sort(np.random.default_rng(2).choice(1500, 600, replace=False))
    results = {
        name: cluster_arms(
            Subject(Rule(bound), Logit(), MACHINE),
            {"train": training, "test": test},
            seed_images,
            identify,
            DISTILL,
            3,
            Streams(0, ("toy",)),
            "toy",
        )
        for name, bound in (("bug", subgroup.bound * 1024), ("control", 9.0))
    }
    return training, test, subgroup, results


def found_in(plane, which):
    _, test, subgroup, results = plane
    arms, seeds = results[which]
    right = np.ones(len(test[1]), bool)
    if which == "bug":
        right[subgroup.test] = False
    rows, _ = bug_rows(arms, seeds, right, subgroup, MISLABELLED, settings(minimum_members=10))
    return {row["arm"]: row for row in rows}


def test_a_planted_bug_is_found_among_all_mistakes_and_on_test_images(plane):
    rows = found_in(plane, "bug")
    for arm in ("mixture of all mistakes", "k-means of all mistakes", "mixture of test mistakes"):
        assert rows[arm]["found"] == 1 and rows[arm]["rank"] <= 3, arm
        assert rows[arm]["best_precision"] > 0.9 and rows[arm]["recall"] > 0.9, arm


def test_the_reconstruction_control_keeps_a_bug_that_is_wrong_before_the_search(plane):
    rows = found_in(plane, "bug")
    assert rows["mixture"]["bug_mistakes"] == rows["mixture of all mistakes"]["bug_mistakes"] > 100
    assert rows["mixture"]["found"] == rows["k-means"]["found"] == 1


def test_nothing_is_found_where_nothing_was_planted(plane):
    assert [row["found"] for row in found_in(plane, "control").values()] == [0] * 5


def test_arms_name_the_images_of_their_split(plane):
    training, test, _, results = plane
    arms, seeds = results["bug"]
    assert np.array_equal(seeds.label, training[1].numpy()[seeds.index]) and set(seeds.index) != set(range(600))
    clustered = arms["mixture of all mistakes"]
    assert (clustered.prediction != training[1].numpy()[clustered.image]).all() and not clustered.test
    on_test = arms["mixture of test mistakes"]
    assert (on_test.prediction != test[1].numpy()[on_test.image]).all() and on_test.test
    distances = np.abs(clustered.codes - Logit().encode(training[0][clustered.image])[0].numpy())
    assert distances.max() < 2  # a code lies near the image that it names


class Twice(Logit):
    """Another autoencoder: its codes are twice as large."""

    def encode(self, images):
        codes, deviations = super().encode(images)
        return 2 * codes, deviations

    def decode(self, codes):
        return super().decode(codes / 2)


READINGS = {
    "released": params.Reading(
        autoencoder="train_released_vae",
        noises=[{"normal": 0.6}],
        draws=10,
        keep=3,
        include_reconstruction_failures=True,
        checker=False,
        groups="mixture",
        shown="draws",
        abstention=False,
    ),
    "repaired": params.Reading(
        autoencoder="train_vae",
        noises=[{"normal": 0.3}, {"normal": 1.0}],
        draws=10,
        keep=3,
        include_reconstruction_failures=False,
        checker=True,
        groups="pairs",
        shown="members",
        abstention=True,
    ),
}
COMPARED = RIVALS.model_copy(update={"minimum_members": 8, **READINGS})
SEED_IMAGES = np.sort(np.random.default_rng(2).choice(1500, 600, replace=False))
NO_BUG = Checker(Rule(9.0), 0.7, 1.0, 0.0, works=True)
WITHOUT_SEARCH = "no search"


def taken(training, bound, count=8, checker=NO_BUG, seed_images=SEED_IMAGES):
    """The readings' arms of a classifier on the plane."""
    vaes = {"train_vae": Logit(), "train_released_vae": Twice()}
    subjects = {name: Subject(Rule(bound), vae, MACHINE) for name, vae in vaes.items()}
    searches = Searches(subjects, {"train": training}, {"train": seed_images}, Streams(0, ("toy",)))
    return reading_arms(searches, checker, COMPARED, DISTILL, count, Streams(0, ("toy",)))


def said_of(arms, plane):
    """What each arm is said to have found of the bug on the plane."""
    _, test, subgroup, results = plane
    rows, _ = bug_rows(
        arms, results["control"][1], np.ones(len(test[1]), bool), subgroup, MISLABELLED, settings(minimum_members=8)
    )
    return {row["arm"]: row for row in rows}


def test_a_bug_that_training_images_show_is_found_by_each_reading_and_without_a_search(plane):
    training, _, subgroup, _ = plane
    rows = said_of(taken(training, subgroup.bound * 1024), plane)
    assert {name: row["found"] for name, row in rows.items()} == {"released": 1, "repaired": 1, WITHOUT_SEARCH: 1}
    assert rows[WITHOUT_SEARCH]["rank"] == 1 and rows[WITHOUT_SEARCH]["recall"] == 1
    assert all(row["best_precision"] > 0.9 for row in rows.values())


def test_a_bug_that_no_training_image_shows_is_found_by_the_repaired_reading_alone(plane):
    training = plane[0]
    beyond = float(training[0].sum((1, 2, 3)).max()) + 0.001
    rows = said_of(taken(training, beyond), plane)
    assert rows["repaired"]["found"] == 1 and rows["repaired"]["recall"] > 0.9
    assert rows[WITHOUT_SEARCH]["found"] == rows[WITHOUT_SEARCH]["bug_mistakes"] == 0


def test_readings_find_little_where_nothing_was_planted(plane):
    rows = said_of(taken(plane[0], 9.0), plane)
    assert [row["found"] for row in rows.values()] == [0, 0, 0]
    assert rows["repaired"]["mistakes"] == 0 < rows["released"]["mistakes"]  # the checker sees what the classifier sees


def test_all_readings_search_around_the_same_images_and_have_at_most_as_many_regions(plane):
    training, _, subgroup, _ = plane
    sets = []
    for count in (0, 1, 2):
        arms = taken(training, subgroup.bound * 1024, count)
        assert all(region_total(arm) <= count for arm in arms.values()), count
        sets.append({name: arm.image for name, arm in arms.items()})
    assert region_total(arms["released"]) == region_total(arms["repaired"]) == 2
    for images in sets:
        assert set(images["released"]) <= set(SEED_IMAGES) and set(images["repaired"]) <= set(SEED_IMAGES)
        wrong = Rule(subgroup.bound * 1024)(training[0]).argmax(1) != training[1]
        assert (
            images[WITHOUT_SEARCH].tolist() == torch.nonzero(wrong)[:, 0].tolist()
        )  # all training images are looked at


def test_the_codes_of_an_arm_are_of_its_autoencoder(plane):
    training, _, subgroup, _ = plane
    vaes = {"train_vae": Logit(), "train_released_vae": Twice()}
    for name, arm in taken(training, subgroup.bound * 1024).items():
        assert arm.autoencoder == ("train_released_vae" if name == "released" else "train_vae")
        with torch.no_grad():
            predictions = Rule(subgroup.bound * 1024)(vaes[arm.autoencoder].decode(torch.from_numpy(arm.codes)))
        assert (predictions.argmax(1).numpy() == arm.prediction).all(), name
        assert (arm.prediction != training[1].numpy()[arm.image]).all() and not arm.test


def test_readings_go_through_where_there_is_no_mistake_and_where_the_checker_cannot_work(plane):
    far = plane[0][1] * 2 - 1
    with torch.no_grad():
        images = Logit().decode(torch.stack([8.0 * far, torch.full((1500,), -4.0)], 1))
    rows = said_of(taken((images, plane[0][1]), 9.0), plane)
    assert [(row["mistakes"], row["regions"], row["found"]) for row in rows.values()] == [(0, 0, 0)] * 3
    rows = said_of(
        taken(plane[0], plane[2].bound * 1024, checker=Checker(Rule(9.0), 0.7, 0.1, 0.9, works=False)), plane
    )
    assert rows["repaired"]["mistakes"] == 0 and rows["released"]["found"] == 1


def test_accuracies_are_of_the_subgroup_and_of_the_rest():
    subgroup = Subgroup(0.5, np.array([False, True, True, True]), np.array([True, True, False, False, False]))
    arm = {
        "mixture": Clustered(False, np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2), np.float32), np.zeros(0, int))
    }
    # Of the subgroup's images 1, 2 and 3 the last is no seed; the bug calls class 1 class 0.
    seeds = Seeds(
        np.array([0, 1, 2]),
        np.array([0, 1, 1]),
        np.zeros((3, 2), np.float32),
        np.zeros((3, 2), np.float32),
        np.array([0, 0, 0]),
        np.array([0, 0, 1]),
    )
    rows, best = bug_rows(arm, seeds, np.array([1, 0, 1, 1, 0], bool), subgroup, MISLABELLED, settings())
    assert (rows[0]["subgroup_accuracy"], rows[0]["rest_accuracy"]) == pytest.approx((1 / 2, 2 / 3))
    assert (rows[0]["training_images"], rows[0]["test_images"]) == (3, 2) and best == {"mixture": None}
    assert (rows[0]["seen_raw"], rows[0]["seen_reconstructed"]) == (1, 0.5)
    left_out = MISLABELLED.model_copy(update={"kind": "left_out", "target": None})
    assert bug_rows(arm, seeds, np.ones(5, bool), subgroup, left_out, settings())[0][0]["seen_reconstructed"] == 0.5


def test_planting_took_where_the_subgroup_lost_more_than_the_rest():
    table = pd.DataFrame(
        {
            "bug": ["a", "b", "a", "b", "a"],
            "strength": [0.0, 0.0, 1.0, 1.0, 0.5],
            "subgroup_accuracy": [1.0, 0.5, 0.75, 0.4, 0.1],
            "rest_accuracy": [0.9, 0.9, 0.9, 0.9, 0.1],
        }
    )
    result = with_outcome(table, settings())
    assert result.extra_drop.tolist() == pytest.approx([0, 0, 0.25, 0.1, 0.1])
    assert result.took.tolist() == [0, 0, 1, 0, 0]


def test_headlines_compare_full_strength_with_the_control_with_kmeans_and_with_no_search():
    rows = [
        (bug, strength, arm, found)
        for bug, strength, arm, found in [
            ("a", 0, "mixture", 0),
            ("b", 0, "mixture", 1),
            ("a", 1, "mixture", 1),
            ("b", 1, "mixture", 1),
            ("a", 1, "k-means", 1),
            ("b", 1, "k-means", 0),
            ("a", 0.5, "mixture", 0),
            ("b", 0.5, "mixture", 0),
            ("a", 1, "mixture of all mistakes", 0),
            ("b", 1, "mixture of all mistakes", 0),
            ("a", 1, "repaired", 1),
            ("b", 1, "repaired", 1),
            ("a", 1, "no search", 1),
            ("b", 1, "no search", 0),
            ("a", 0, "repaired", 1),
            ("a", 0, "no search", 0),
        ]
    ]
    table = pd.DataFrame(rows, columns=["bug", "strength", "arm", "found"])
    table["took"], table["seen_raw"] = table.bug == "a", np.where(table.strength == 1, 0.8, 0.1)
    table["seen_reconstructed"] = 0.4
    assert headlines(table, "mixture") == {
        "found": 1.0,
        "found_in_control": 0.5,
        "found_by_kmeans": 0.5,
        "above_control": 0.5,
        "above_kmeans": 0.5,
        "found_beyond_no_search": 0.5,
        "took": 0.5,
        "seen_raw": pytest.approx(0.8),
        "seen_reconstructed": pytest.approx(0.4),
    }


def test_examples_are_of_the_subgroup_and_of_the_best_regions():
    images = torch.arange(6)[:, None, None, None].float().div(255).expand(-1, 1, 32, 32)
    codes = np.array([[0.0, 0.0], [30.0, 30.0], [30.0, 30.0]], np.float32)
    arm = Clustered(False, np.zeros(3, int), np.zeros(3, int), codes, np.array([3, 4, 4]))
    best, subjects = dict(zip(SHOWN_ARMS, (4, None))), {"train_vae": Subject(Rule(9.0), Logit(), MACHINE)}
    shown = example_images(
        images, subjects, np.arange(6) >= 4, dict.fromkeys(SHOWN_ARMS, arm), best, 3, np.random.default_rng(0)
    )
    assert sorted(shown["subgroup"][:, 0, 5, 5].tolist()) == [0, 4, 5] and shown["subgroup"].dtype == np.uint8
    assert shown["region"][:, :, 0, 0, 0].tolist() == [[255, 255, 0], [0, 0, 0]] and shown["shown"].tolist() == [2, 0]
