"""Correction and baseline: what lambda does, and how an arm is chosen."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from defuse.core import params
from defuse.method.correction import (
    Batches,
    accuracies,
    accuracy_by_region,
    choose_arm,
    classified_right,
    correct,
    draw_batches,
    finetune_baseline,
    has_diverged,
    label_regions,
)
from defuse.models.augmentation import augment
from defuse.models.classifiers import build_classifier
from defuse.models.evaluation import accuracy, predict
from defuse.models.machine import Machine

NAN = float("nan")
MACHINE = Machine(torch.device("cpu"), torch.float32, torch.channels_last, compiled=False)
SETTINGS = params.Correct(
    lambdas=[0.0, 1.0],
    optimizer="sgd",
    learning_rate=0.05,
    momentum=0.9,
    batch_size=8,
    steps=6,
    maximum_accuracy_drop=0.005,
)
PLAIN = params.Augmentation(
    rotation=0.0, translation=0.0, scaling=0.0, elastic=0.0, blur=0.0, contrast=0.0, brightness=0.0
)
# How the classifier was trained.
RECIPE = params.TrainClassifier(
    network=params.Network(architecture="small_cnn", width=4, stem=None),
    initial_weights=None,
    epochs=1,
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=0.01,
    batch_size=8,
    schedule="constant",
    label_smoothing=0.2,
    augmentation=PLAIN,
)


def small_problem(strange):
    """A classifier, 40 dark and 40 bright images with labels, and `strange` ones of class 0: bright above, dark below.

    Also the generator of the images, to go on with.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = build_classifier("small_cnn", 1, 2, 4).eval()
    dark = torch.rand(40, 1, 32, 32, generator=generator) * 0.3
    training = torch.cat([dark, dark + 0.7]), torch.arange(2).repeat_interleave(40)
    images = torch.rand(strange, 1, 32, 32, generator=generator) * 0.3
    images[:, :, :16] += 0.7
    return classifier, training, (images, torch.zeros(strange, dtype=torch.int64)), generator


@pytest.fixture
def setting():
    classifier, training, regions, generator = small_problem(16)
    batches = [draw_batches(data, SETTINGS, generator) for data in (training, regions)]
    return classifier, training, regions, batches


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_lambda_zero_is_the_classifiers_own_training_gone_on(setting):
    """With its label smoothing, weight decay and distortions; the statistics of batch norm stay."""
    _, training, _, _ = setting
    with torch.random.fork_rng():
        torch.manual_seed(1)
        classifier = build_classifier("vgg", 1, 2, 4).eval()  # with batch norm
    bright = PLAIN.model_copy(update={"brightness": 0.2})
    batches = draw_batches(training, SETTINGS, torch.Generator().manual_seed(5), bright)
    corrected = correct(classifier, batches, None, 0.0, SETTINGS, RECIPE, MACHINE, "test")
    plain = copy.deepcopy(classifier).eval()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    generator = torch.Generator().manual_seed(5)
    order = torch.randint(len(training[1]), (SETTINGS.steps, SETTINGS.batch_size), generator=generator)
    images = augment(training[0][order.flatten()], bright, generator).unflatten(0, order.shape)
    assert not torch.equal(images[0], training[0][order[0]])
    for step, batch in enumerate(order):
        optimizer.zero_grad()
        functional.cross_entropy(plain(images[step]), training[1][batch], label_smoothing=0.2).backward()
        optimizer.step()
    assert torch.allclose(weights(corrected), weights(plain), atol=1e-6)
    assert all(torch.equal(moving, kept) for moving, kept in zip(corrected.buffers(), classifier.buffers()))
    assert not torch.allclose(weights(corrected), weights(classifier), atol=1e-4)


def test_the_regions_labels_are_not_smoothed(setting):
    classifier, _, _, batches = setting
    one_step = SETTINGS.model_copy(update={"steps": 1, "momentum": 0.0})
    batches = [Batches(part.images, part.labels, part.order[:1]) for part in batches]
    corrected = correct(classifier, *batches, 2.0, one_step, RECIPE, MACHINE, "test")
    plain = copy.deepcopy(classifier).eval()
    (images, labels), (region_images, region_labels) = (part.at(0) for part in batches)
    loss = functional.cross_entropy(plain(images), labels, label_smoothing=0.2)
    (loss + 2 * functional.cross_entropy(plain(region_images), region_labels)).backward()
    torch.optim.SGD(plain.parameters(), lr=0.05, weight_decay=0.01).step()
    assert torch.allclose(weights(corrected), weights(plain), atol=1e-6)


def test_the_debugged_classifier_stays_as_it_was(setting):
    classifier, _, _, batches = setting
    before = copy.deepcopy(classifier.state_dict())
    correct(classifier, *batches, 1.0, SETTINGS, RECIPE, MACHINE, "test")
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())


def test_small_lambdas_tend_to_the_control(setting):
    classifier, _, _, batches = setting
    control, small, large = (
        weights(correct(classifier, *batches, value, SETTINGS, RECIPE, MACHINE, "test")) for value in (0.0, 1e-6, 1.0)
    )
    assert (small - control).norm() < 1e-3 * (large - control).norm()


def test_correction_learns_the_regions(setting):
    classifier, training, regions, _ = setting
    longer, generator = SETTINGS.model_copy(update={"steps": 60}), torch.Generator().manual_seed(1)
    batches = [draw_batches(data, longer, generator) for data in (training, regions)]
    corrected = correct(classifier, *batches, 1.0, longer, RECIPE, MACHINE, "test")
    assert accuracy(corrected, *regions) == 1
    assert accuracy(corrected, *training) >= 0.95


def test_the_baseline_sees_mistakes_alone(setting):
    classifier, training, regions, _ = setting
    settings = params.FinetuneBaseline(
        learning_rates=[0.05],
        optimizer="sgd",
        momentum=0.9,
        weight_decay=0.0,
        batch_size=8,
        steps=40,
        maximum_accuracy_drop=0.005,
    )
    batches = draw_batches(regions, settings, torch.Generator().manual_seed(2))
    tuned = finetune_baseline(classifier, batches, 0.05, settings, MACHINE, "test")
    assert accuracy(tuned, *regions) == 1
    assert accuracy(tuned, *training) <= 0.6  # every image is now of the mistakes' one class


def test_a_network_that_diverged_has_no_accuracy(setting):
    classifier, training, regions, batches = setting
    broken = correct(classifier, *batches, 1e30, SETTINGS, RECIPE, MACHINE, "test")
    assert (predict(broken, training[0]).argmax(1) == 0).all()  # what NaN picks is right for the half of the images
    right = classified_right(broken, {"training": training, "regions": regions})
    assert has_diverged(right) and not has_diverged(classified_right(classifier, {"training": training}))
    assert np.isnan(list(accuracies(right).values())).all()
    assert np.isnan(accuracy_by_region(right["regions"], 2)).all()


@pytest.mark.parametrize("logit", [np.nan, np.inf, -np.inf])
def test_one_logit_that_is_no_number_is_divergence_everywhere(logit, monkeypatch):
    logits = {name: torch.tensor([[0.0, 1.0], [1.0, 0.0]])[:, None, None] for name in ("validation", "test")}
    data = {name: (part, torch.tensor([1, 0])) for name, part in logits.items()}
    monkeypatch.setattr("defuse.method.correction.predict", lambda _, images: images[:, 0, 0])
    network = torch.nn.Identity()
    assert accuracies(classified_right(network, data)) == {"validation_accuracy": 1, "test_accuracy": 1}
    logits["test"][1, 0, 0, 1] = logit
    assert np.isnan(list(accuracies(classified_right(network, data)).values())).all()


def arm(validation, region):
    return {"validation_accuracy": validation, "region_validation_accuracy": region}


@pytest.mark.parametrize(
    ("arms", "chosen"),
    [
        ([arm(0.98, 0.2), arm(0.979, 0.9), arm(0.90, 1.0)], 1),  # the last costs too much
        ([arm(0.98, 0.9), arm(0.99, 0.9), arm(0.99, 0.9)], 1),  # equal regions: better validation, then first
        ([arm(0.70, 1.0), arm(0.80, 0.1)], 1),  # nothing qualifies: best validation
        ([arm(0.98, NAN)], None),  # no region
        ([arm(NAN, NAN), arm(0.98, 0.2)], 1),  # the first diverged
        ([arm(0.70, 0.2), arm(NAN, NAN)], 0),  # nothing qualifies, and the other diverged
        ([arm(0.98, 0.2), arm(NAN, NAN), arm(0.98, 0.9)], 2),
        ([arm(NAN, NAN), arm(NAN, NAN)], None),
        ([], None),
    ],
)
def test_the_arm_is_chosen_on_validation(arms, chosen):
    assert choose_arm(arms, start_validation_accuracy=0.98, maximum_drop=0.005) == chosen


def test_region_labels_follow_their_codes():
    codes = np.arange(3 * 2 * 2, dtype=np.float32).reshape(3, 2, 2)
    chosen, labels = label_regions(codes, np.array([7, 8, 9]), accepted=np.array([0, 2]))
    assert chosen.tolist() == [[0, 1], [2, 3], [8, 9], [10, 11]]
    assert labels.tolist() == [7, 7, 9, 9]


def test_no_accepted_region_gives_no_code():
    chosen, labels = label_regions(np.zeros((3, 2, 4), np.float32), np.array([1, 2, 3]), np.zeros(0, int))
    assert chosen.shape == (0, 4) and labels.shape == (0,)


def test_accuracy_by_region_splits_in_order(setting):
    classifier, training, _, _ = setting
    right = classified_right(classifier, {"all": training, "none": (training[0][:0], training[1][:0])})
    parts = accuracy_by_region(right["all"], regions=2)
    assert parts == [accuracy(classifier, *(half[part] for half in training)) for part in (slice(40), slice(40, 80))]
    assert accuracies(right) == {
        "all_accuracy": pytest.approx(np.mean(parts)),
        "none_accuracy": pytest.approx(float("nan"), nan_ok=True),
    }
    assert accuracy_by_region(right["none"], 0) == []


def test_batches_are_the_same_for_the_same_seed_and_within_range():
    five, settings = (
        (torch.zeros((5, 1, 32, 32)), torch.arange(5)),
        SETTINGS.model_copy(update={"batch_size": 4, "steps": 100}),
    )
    first, second = (draw_batches(five, settings, torch.Generator().manual_seed(3)).order for _ in range(2))
    assert torch.equal(first, second) and first.shape == (100, 4) and first.min() == 0 and first.max() == 4


def test_a_step_sees_the_images_and_labels_of_its_batch():
    images = torch.arange(3.0)[:, None, None, None].expand(3, 1, 32, 32)
    batches = Batches(images, torch.tensor([7, 8, 9]), torch.tensor([[0, 0], [2, 1]]))
    for step, (pixels, labels) in enumerate((([0, 0], [7, 7]), ([2, 1], [9, 8]))):
        seen = batches.at(step)
        assert seen[0].shape == (2, 1, 32, 32) and seen[0][:, 0, 0, 0].tolist() == pixels
        assert seen[1].tolist() == labels
