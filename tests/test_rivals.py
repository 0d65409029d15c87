"""The regions' rivals: other clusterings, single mistakes, and the comparison itself."""

import numpy as np
import pytest
import torch
from test_correction import MACHINE, SETTINGS, small_problem
from test_region_ablation import ANNOTATE, DISTILL, annotators, regions_at

from defuse.core import params
from defuse.core.random_streams import Streams
from defuse.method.correction import correct, draw_batches
from defuse.models.evaluation import accuracy
from defuse.models.subject import Subject
from defuse.studies.rivals import Rival, compare_rivals, region_rival, single_mistakes

STREAMS = Streams(0, ("test",))
RIVALS = params.CompareRivals(lambdas=[0.1, 1.0], validation_share=0.2, kmeans_starts=1)
BASELINE = params.FinetuneBaseline(
    learning_rates=[0.001, 0.05],
    optimizer="sgd",
    momentum=0.9,
    weight_decay=0.0,
    batch_size=8,
    steps=6,
    maximum_accuracy_drop=0.005,
)


def test_only_accepted_regions_are_trained_on_with_their_label_and_all_are_paid_for():
    distill = DISTILL.model_copy(update={"correction_samples": 5, "validation_samples": 3})
    # The classifier calls both of the outer ones rightly; the middle one fails.
    rival = region_rival(annotators(), regions_at(-0.5, 0.1, 0.2), distill, ANNOTATE, STREAMS)
    assert rival.labels_asked == 3 * 4
    for part, count in ((rival.training, 5), (rival.validation, 3)):
        assert part[0].shape == (count, 1, 1, 1) and part[0].mean() == pytest.approx(0.1, abs=1e-3)
        assert part[1].tolist() == [0] * count


def test_single_mistakes_keep_their_label_and_all_that_were_looked_at_are_paid_for():
    images = torch.arange(10.0)[:, None, None, None].expand(10, 1, 32, 32)
    labels, is_mistake = np.arange(10) % 3, np.arange(10) % 2 == 0
    rival = single_mistakes(images, labels, is_mistake, 0.4)
    assert rival.labels_asked == 10
    assert rival.training[0][:, 0, 0, 0].tolist() == [0, 2, 4] and rival.training[1].tolist() == [0, 2, 1]
    assert rival.validation[0][:, 0, 0, 0].tolist() == [6, 8] and rival.validation[1].tolist() == [0, 2]


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
        {"more training": training, "more training, augmented": (1 - training[0], training[1])},
        rivals,
        data,
        RIVALS,
        SETTINGS,
        BASELINE,
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
    assert rows["before"]["lambda"] is None and np.isnan(rows["before"]["mistake_test_accuracy"])


def test_an_arm_without_images_has_no_accuracy(setting):
    row = rows_of(setting)["k-means"]
    assert [row[f"{name}_accuracy"] for name in ("validation", "test", "region_test")] == [None] * 3


def test_an_arm_is_a_correction_from_the_start_on_the_same_batches(setting):
    classifier, training, rivals, data = setting
    rows = rows_of(setting)
    batches = [
        draw_batches(images, SETTINGS, STREAMS.torch(purpose))
        for images, purpose in ((training, "training"), (rivals["regions"].training, "own"))
    ]
    network = correct(classifier, *batches, rows["regions"]["lambda"], SETTINGS, MACHINE, "test")
    assert rows["regions"]["region_test_accuracy"] == accuracy(network, *data["region_test"])
    plain = correct(classifier, batches[0], None, 0.0, SETTINGS, MACHINE, "test")
    assert rows["more training"]["region_test_accuracy"] == accuracy(plain, *data["region_test"])
    assert rows["before"]["test_accuracy"] == accuracy(classifier, *data["test"])
