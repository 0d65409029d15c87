"""The training loop, augmentation and evaluation."""

import json
import math
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torchvision.transforms.v2.functional import gaussian_blur

from defuse.core import params
from defuse.core.errors import DivergedError, ParamsError
from defuse.models.augmentation import augment, blur
from defuse.models.checkpoints import Checkpoint
from defuse.models.classifiers import Normalise
from defuse.models.evaluation import EVALUATION_BATCH, accuracy, predict
from defuse.models.machine import Machine, set_up_machine, to_machine
from defuse.models.training import (
    epoch_batches,
    make_optimizer,
    make_schedule,
    run_epochs,
    run_steps,
    steps_bar,
    train_classifier,
)
from defuse.models.weights import load_weights

NOTHING = {"rotation": 0, "translation": 0, "scaling": 0, "elastic": 0, "blur": 0, "contrast": 0, "brightness": 0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def training_settings(**changes):
    return params.TrainClassifier(
        **{
            "network": {"architecture": "small_cnn", "width": 2, "stem": None},
            "initial_weights": None,
            "epochs": 4,
            "optimizer": "sgd",
            "learning_rate": 0.05,
            "momentum": 0.9,
            "weight_decay": 0.0,
            "batch_size": 16,
            "schedule": "one_cycle",
            "label_smoothing": 0.0,
            "augmentation": NOTHING,
            **changes,
        }
    )


def halves(count, seed):
    """Noise whose upper (class 0), left (1) or right (2) half is brighter: linearly separable."""
    labels = torch.arange(count) % 3
    images = 0.5 * torch.rand((count, 1, 32, 32), generator=generator(seed))
    for index, half in enumerate((slice(None, 16), slice(None, 16), slice(16, None))):
        chosen = labels == index
        part = images[chosen]
        (part[:, :, half] if index == 0 else part[..., half]).add_(0.4)
        images[chosen] = part
    return images, labels


def one_weight():
    """The smallest network: one weight, 0."""
    return nn.ParameterList([nn.Parameter(torch.zeros(()))])


def weights_of(network):
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


# Training


def test_a_separable_problem_is_learnt(make_classifier, machine):
    classifier, test = make_classifier(), halves(60, 2)
    curve = train_classifier(classifier, halves(120, 1), test, training_settings(), machine, generator(), "toy")
    assert [row["epoch"] for row in curve] == [1, 2, 3, 4]
    assert curve[-1]["training_loss"] < 0.2 * curve[0]["training_loss"]
    assert curve[-1]["validation_accuracy"] == accuracy(classifier, *test) == 1
    assert not classifier.training


def test_same_seed_gives_the_same_bytes(make_classifier, machine):
    augmentation = {**NOTHING, "rotation": 5, "elastic": 1, "blur": 0.5, "contrast": 0.1}
    trained = []
    for weights, batches in ((0, 0), (0, 0), (0, 1), (1, 0)):
        classifier = make_classifier(weights)
        settings = training_settings(epochs=1, augmentation=augmentation)
        data = halves(48, 1)
        curve = train_classifier(
            classifier, data, data, settings, machine, generator(batches), "toy", 0.1, blend_fraction=0.25
        )
        trained.append((weights_of(classifier), curve))
    assert trained[0] == trained[1]
    assert trained[0] != trained[2] and trained[0] != trained[3]


def test_huge_learning_rate_is_reported(make_classifier, machine):
    settings = training_settings(learning_rate=1e30, schedule="constant")
    with pytest.raises(DivergedError, match=r"loss is \S+ after [1-9]\d* steps; lower learning_rate"):
        train_classifier(make_classifier(), halves(48, 1), halves(6, 2), settings, machine, generator(), "toy")


@pytest.mark.parametrize("spoilt", ["0", "mean"])
def test_a_network_that_ends_with_nan_is_reported_though_its_loss_is_finite(tmp_path, spoilt):
    """The last step of an epoch spoils a weight, or batch norm's mean; no loss is computed with it."""
    network = one_weight()
    network.register_buffer("mean", torch.zeros(2))
    settings = training_settings(epochs=3, batch_size=4, schedule="constant")

    def loss_of(_, step):
        if step < 2:
            return network[0] ** 2
        if spoilt == "mean":
            network.mean[1] = float("inf")
            return network[0] ** 2
        return (network[0] * 0).sqrt()  # 0, with a gradient of 0 times infinity

    checkpoint, measured = Checkpoint(tmp_path / "checkpoint.safetensors", {}), []
    with pytest.raises(DivergedError, match=f"^{spoilt} holds NaN or infinity after epoch 3; lower learning_rate$"):
        run_epochs(network, 4, loss_of, lambda: measured.append(1) or {}, settings, generator(), "toy", checkpoint)
    tensors, state = load_weights(checkpoint.path)
    assert len(json.loads(state["curve"])) == len(measured) == 2
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_a_sweep_may_go_on_after_divergence(make_classifier):
    classifier = make_classifier()
    optimizer = torch.optim.SGD(classifier.parameters(), 0.1)
    steps = iter([2.0, float("inf"), 1.0])

    def loss_of(_, step):
        return next(steps) * sum(weight.sum() for weight in classifier.parameters())

    with steps_bar("toy", 3) as progress:
        loss = run_steps([torch.tensor([0])] * 3, loss_of, optimizer, None, progress, stop_when_diverged=False)
    assert not math.isfinite(loss) and next(steps, "spent") == "spent"


def test_run_steps_gives_the_mean_loss_and_steps_once_per_batch():
    network = one_weight()
    optimizer = torch.optim.SGD(network.parameters(), 0.5)
    batches = [torch.tensor([1.0]), torch.tensor([3.0]), torch.tensor([5.0])]
    seen = []

    def loss_of(batch, step):
        seen.append(step)
        return network[0] + batch.sum()

    with steps_bar("toy", 3) as progress:
        loss = run_steps(batches, loss_of, optimizer, None, progress, steps_before=7)
    # The gradient is 1: the weight is 0, -0.5, -1 before the steps.
    assert loss == pytest.approx((1 + 2.5 + 4) / 3) and float(network[0].detach()) == -1.5
    assert seen == [7, 8, 9]


class Record(nn.Module):
    """Keeps what it is fed in training; the same learnt logits for every image."""

    def __init__(self, classes):
        super().__init__()
        self.logits = nn.Parameter(torch.linspace(-1, 2, classes))
        self.seen = []

    def forward(self, images):
        if self.training:
            self.seen.append(images.detach().clone())
        return self.logits.expand(len(images), -1)


@pytest.mark.parametrize(("fraction", "blended"), [(0.0, 0), (0.25, 2), (0.5, 4), (0.49, 3), (0.75, 6)])
def test_blends_get_both_labels(machine, fraction, blended):
    values, labels = torch.arange(8) / 8, torch.arange(8)
    classifier = nn.Sequential(Normalise(1), Record(8))
    classifier[0].fit = lambda images: None
    images = values[:, None, None, None].expand(-1, 1, 32, 32).clone()
    settings = training_settings(epochs=1, batch_size=8, schedule="constant", learning_rate=1e-9)
    start = classifier[1].logits.detach().clone()
    data = images, labels
    curve = train_classifier(classifier, data, data, settings, machine, generator(), "toy", blend_fraction=fraction)
    seen = classifier[1].seen[0][:, 0, 16, 16]
    # Which image is where: the plain ones by value, the blended ones by twice the value minus their partner's.
    order = torch.zeros(8)
    order[blended:] = seen[blended:]
    partners = [(blended + position) % 8 for position in range(blended)]
    for position in range(blended):
        order[position] = 2 * seen[position] - order[partners[position]]
    identity = (order * 8).round().long()
    assert sorted(identity.tolist()) == list(range(8))
    other = identity.clone()
    other[:blended] = identity[partners]
    logits = start.expand(8, -1)
    expected = (functional.cross_entropy(logits, identity) + functional.cross_entropy(logits, other)) / 2
    assert curve[0]["training_loss"] == pytest.approx(float(expected), rel=1e-5)


# Optimiser and schedule


def test_optimizers_take_their_settings():
    sgd = make_optimizer(one_weight(), training_settings(weight_decay=0.01))
    assert isinstance(sgd, torch.optim.SGD)
    assert [sgd.defaults[name] for name in ("lr", "momentum", "weight_decay")] == [0.05, 0.9, 0.01]
    adam = make_optimizer(one_weight(), training_settings(optimizer="adam", momentum=None, learning_rate=0.002))
    assert isinstance(adam, torch.optim.Adam)
    assert [adam.defaults[name] for name in ("lr", "weight_decay")] == [0.002, 0.0]


@pytest.mark.parametrize(("items", "steps"), [(64, 16), (79, 16), (10, 4), (16, 4)])
def test_one_cycle_rises_to_the_learning_rate_and_falls_over_all_steps(items, steps):
    settings = training_settings(epochs=4, batch_size=16)
    optimizer = make_optimizer(one_weight(), settings)
    schedule = make_schedule(optimizer, settings, items)
    assert sum(len(list(epoch_batches(items, 16, generator()))) for _ in range(4)) == steps
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    peak = rates.index(max(rates))
    assert rates[0] < 0.1 * settings.learning_rate and rates[-1] < 1e-3 * settings.learning_rate
    assert 0.5 * settings.learning_rate < rates[peak] <= settings.learning_rate * (1 + 1e-9)
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    with pytest.raises(ValueError, match="step"):
        schedule.step()


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_one_cycle_keeps_the_momentum_of_the_settings(momentum):
    settings = training_settings(momentum=momentum, schedule="one_cycle")
    optimizer = make_optimizer(one_weight(), settings)
    make_schedule(optimizer, settings, 64)
    assert optimizer.param_groups[0]["momentum"] == momentum


def test_constant_schedule_is_none():
    settings = training_settings(schedule="constant")
    assert make_schedule(make_optimizer(one_weight(), settings), settings, 64) is None


# Batches


@given(st.integers(1, 300), st.integers(1, 80), st.integers(0, 2**31))
def test_an_epoch_has_each_item_at_most_once_in_whole_batches(items, batch_size, seed):
    batches = list(epoch_batches(items, batch_size, generator(seed)))
    size = min(items, batch_size)
    assert {len(batch) for batch in batches} == {size} and len(batches) == items // size
    drawn = torch.cat(batches).tolist()
    assert len(set(drawn)) == len(drawn) and set(drawn) <= set(range(items))


def test_epochs_differ_in_order():
    shared = generator()
    first, second = (torch.cat(list(epoch_batches(64, 8, shared))) for _ in range(2))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(64))
    assert first.tolist() != second.tolist() and first.tolist() != list(range(64))


# Augmentation


def test_zero_settings_leave_images_as_they_are(images, still):
    assert torch.equal(augment(images, still, generator()), images)


@pytest.mark.parametrize(
    "changes",
    [
        {"rotation": 90},
        {"translation": 0.3},
        {"scaling": 0.5},
        {"elastic": 2},
        {"blur": 1},
        {"contrast": 0.9},
        {"brightness": 0.8},
        {
            "rotation": 12,
            "translation": 0.1,
            "scaling": 0.1,
            "elastic": 1,
            "blur": 0.3,
            "contrast": 0.5,
            "brightness": 0.5,
        },
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_setting_changes_images_and_keeps_shape_and_range(changes, channels):
    images = torch.rand((6, channels, 32, 32), generator=generator(1))
    distorted = augment(images, params.Augmentation(**{**NOTHING, **changes}), generator())
    assert distorted.shape == images.shape and distorted.dtype == torch.float32
    assert distorted.min() >= 0 and distorted.max() <= 1
    assert ((distorted - images).abs().amax((1, 2, 3)) > 1e-3).all()


@pytest.mark.parametrize("setting", ["rotation", "translation", "scaling", "elastic", "contrast", "brightness"])
def test_each_image_has_its_own_draw(setting):
    image = torch.rand((1, 1, 32, 32), generator=generator(1)) * 0.5 + 0.25
    settings = params.Augmentation(**{**NOTHING, setting: 0.2})
    distorted = augment(image.expand(8, -1, -1, -1), settings, generator())
    assert len({bytes(one.numpy()) for one in distorted}) == 8
    assert torch.equal(augment(image.expand(8, -1, -1, -1), settings, generator()), distorted)
    assert not torch.equal(augment(image.expand(8, -1, -1, -1), settings, generator(1)), distorted)


def test_blur_takes_its_share_of_the_images(images):
    many = images[:1].expand(400, -1, -1, -1)
    distorted = augment(many, params.Augmentation(**{**NOTHING, "blur": 0.3}), generator())
    share = ((distorted - many).abs().amax((1, 2, 3)) > 1e-3).float().mean()
    assert 0.22 < share < 0.38


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (7, 3, 32, 32), (64, 1, 32, 32), (3, 3, 2, 5)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_blur_has_the_bytes_of_torchvisions(dtype, shape, layout):
    many = torch.rand(shape, generator=generator(), dtype=torch.float64).to(dtype).contiguous(memory_format=layout)
    assert torch.equal(blur(many), gaussian_blur(many, [3, 3], [0.8, 0.8]))
    spread = many.expand(2 * shape[0], -1, -1, -1) if shape[0] == 1 else many.flip(0)
    assert torch.equal(blur(spread), gaussian_blur(spread, [3, 3], [0.8, 0.8]))


def blobs(count, row, column):
    """Images with one soft spot at (row, column), pixels."""
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    spot = torch.exp(-((rows - row).square() + (columns - column).square()) / 8)
    return spot.expand(count, 1, 32, 32)


def centres(images):
    """Centre of mass of each image relative to the middle, pixels, (N, 2): row and column."""
    weights = images[:, 0] / images[:, 0].sum((1, 2), keepdim=True)
    positions = torch.arange(32.0) - 15.5
    return torch.stack([(weights.sum(2) * positions).sum(1), (weights.sum(1) * positions).sum(1)], 1)


def test_translation_is_a_share_of_the_side():
    settings = params.Augmentation(**{**NOTHING, "translation": 0.2})
    moved = centres(augment(blobs(300, 15.5, 15.5), settings, generator()))
    assert 6 < moved.abs().max() < 6.5  # 0.2 * 32 = 6.4 pixels
    assert moved.mean(0).abs().max() < 0.7
    assert (moved[:, 0] - moved[:, 1]).abs().max() > 3  # rows and columns are drawn apart


def test_rotation_keeps_the_radius_and_its_bound():
    settings = params.Augmentation(**{**NOTHING, "rotation": 30})
    moved = centres(augment(blobs(300, 6.5, 15.5), settings, generator()))
    torch.testing.assert_close(moved.norm(dim=1), torch.full((300,), 9.0), atol=0.1, rtol=0)
    angles = torch.rad2deg(torch.atan2(moved[:, 1], -moved[:, 0]))
    assert 28 < angles.abs().max() < 30.5 and angles.min() < -25 and angles.max() > 25


def test_scaling_keeps_the_direction_and_its_bound():
    settings = params.Augmentation(**{**NOTHING, "scaling": 0.2})
    moved = centres(augment(blobs(300, 9.5, 15.5), settings, generator()))
    assert moved[:, 1].abs().max() < 0.05
    radius = -moved[:, 0]
    assert 4.9 < radius.min() < 5.1 and 7.3 < radius.max() < 7.6  # 6 / 1.2 and 6 / 0.8


def test_no_image_is_mirrored(shipped_tree):
    settings = params.Augmentation(**shipped_tree["train_oracle"]["mnist"]["augmentation"])
    spots = torch.cat([blobs(100, 15.5, 8.5), blobs(100, 15.5, 22.5)])
    columns = centres(augment(spots.clone(), settings, generator()))[:, 1]
    assert (columns[:100] < 0).all() and (columns[100:] > 0).all()


# Evaluation


def test_prediction_does_not_depend_on_batches_or_mode(make_classifier):
    classifier = make_classifier(architecture="vgg")
    images = torch.rand((EVALUATION_BATCH["cpu"] + 3, 1, 32, 32), generator=generator(1))
    classifier.train()(images[:32])
    logits = predict(classifier.train(), images)
    assert classifier.training and not logits.requires_grad and logits.dtype == torch.float32
    assert torch.equal(predict(classifier.eval(), images), logits) and not classifier.training
    torch.testing.assert_close(predict(classifier, images[-5:]), logits[-5:], atol=1e-5, rtol=1e-5)


def test_no_images_give_no_logits_and_no_accuracy(make_classifier):
    classifier = make_classifier()
    assert predict(classifier, torch.zeros((0, 1, 32, 32))).shape == (0, 3)
    assert math.isnan(accuracy(classifier, torch.zeros((0, 1, 32, 32)), torch.zeros(0, dtype=torch.int64)))


def test_accuracy_is_the_share_of_right_predictions(make_classifier, images):
    classifier = make_classifier()
    labels = predict(classifier, images).argmax(1)
    labels[:6] = (labels[:6] + 1) % 3
    assert accuracy(classifier, images, labels) == pytest.approx(18 / 24)


# Machine


def compute(**changes):
    return params.Compute(
        **{
            "device": "cpu",
            "threads": 1,
            "deterministic": True,
            "precision": "auto",
            "memory_format": "auto",
            "compile": "auto",
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"neon": True, "bf16": True}, torch.bfloat16),
        ({}, torch.float32),
    ],
)
def test_auto_takes_bfloat16_where_the_processor_computes_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert set_up_machine(compute()).precision == precision
    assert set_up_machine(compute(precision="float32")).precision == torch.float32


@pytest.mark.parametrize(
    ("memory_format", "layout"),
    [
        ("auto", torch.channels_last),
        ("channels_last", torch.channels_last),
        ("contiguous", torch.contiguous_format),
    ],
)
def test_layout_is_that_of_the_weights_and_changes_no_result(make_classifier, images, memory_format, layout):
    machine = set_up_machine(compute(memory_format=memory_format))
    classifier = to_machine(make_classifier(channels=3), machine)
    assert machine.memory_format == layout and classifier[1][3].weight.is_contiguous(memory_format=layout)
    colour = images.expand(-1, 3, -1, -1)
    torch.testing.assert_close(predict(classifier, colour), predict(make_classifier(channels=3).eval(), colour))


def test_cuda_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParamsError, match=r"compute\.device: 'cuda' is not available here; allowed: auto, cpu"):
        set_up_machine(compute(device="cuda"))


@pytest.mark.parametrize(
    ("device", "cuda", "chosen"),
    [
        ("auto", False, "cpu"),
        ("cpu", True, "cpu"),
        ("auto", True, "cuda"),
        ("cuda", True, "cuda"),
    ],
)
def test_machine_follows_the_settings(monkeypatch, device, cuda, chosen):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: calls.append(("torch", count)))
    monkeypatch.setattr("defuse.models.machine.threadpool_limits", lambda count: calls.append(("blas", count)))
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on, **_: calls.append(("deterministic", on)))
    found = set_up_machine(compute(device=device, threads=3, precision="bfloat16"))
    assert found == Machine(torch.device(chosen), torch.bfloat16, torch.channels_last, compiled=False)
    assert sorted(calls) == [("blas", 3), ("deterministic", True), ("torch", 3)]


@pytest.mark.parametrize("deterministic", [True, False])
def test_deterministic_algorithms_are_asked_for(monkeypatch, deterministic):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    try:
        set_up_machine(compute(deterministic=deterministic))
        assert torch.are_deterministic_algorithms_enabled() == deterministic
        assert torch.backends.cudnn.benchmark == (not deterministic)
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == deterministic
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_precision_is_that_of_the_forward_pass(make_classifier, images, precision):
    machine = Machine(torch.device("cpu"), precision, torch.channels_last, compiled=False)
    classifier = to_machine(make_classifier(), machine)
    with machine.autocast():
        assert classifier(images).dtype == precision
    assert classifier(images).dtype == torch.float32
