"""Networks: shapes, normalisation, and files that are read back or refused."""

import pickle

import pytest
import torch
from conftest import Trap
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18

from defuse.core.errors import StorageError
from defuse.core.random_streams import Streams
from defuse.method.correction import logits_of
from defuse.models.autoencoder import VAE
from defuse.models.classifiers import Normalise, build_classifier, load_imagenet_weights
from defuse.models.evaluation import EVALUATION_BATCH, accuracy, batches_on, decode, encode, predict
from defuse.models.machine import device_of
from defuse.models.saved_networks import load_network, save_network
from defuse.models.search_network import SubpixelConvolution, decode_and_classify

SMALL = {"architecture": "small_cnn", "channels": 1, "classes": 3, "width": 2}  # what make_classifier builds
CLASSIFIERS = [
    ("small_cnn", 2, None),
    ("vgg", 2, None),
    ("small_residual", 2, None),
    ("resnet18", None, "imagenet"),
    ("resnet18", None, "pooled_3x3"),
    ("resnet18", None, "cifar"),
]


def load(path, build):
    """`load_network`, which builds a network first and so draws weights from torch's global generator."""
    with torch.random.fork_rng():
        return load_network(path, build)


def random_images(count, channels):
    return torch.rand((count, channels, 32, 32), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("architecture", "width", "stem"), CLASSIFIERS)
def test_classifier_gives_logits_and_survives_its_file(tmp_path, make_classifier, architecture, width, stem, channels):
    description = {"architecture": architecture, "channels": channels, "classes": 5, "width": width, "stem": stem}
    classifier, images = make_classifier(**description), random_images(4, channels)
    classifier[0].fit(images)
    classifier.train()(images)  # moves batch norm's statistics, which the file must keep
    logits = classifier.eval()(images)
    assert logits.shape == (4, 5) and logits.isfinite().all()
    assert len(logits.unique()) == 20
    save_network(tmp_path / "c.safetensors", classifier, **description)
    loaded = load(tmp_path / "c.safetensors", build_classifier)
    assert not loaded.training
    assert torch.equal(loaded(images), logits)


@pytest.mark.parametrize(("stem", "channels"), [("imagenet", 3), ("imagenet", 1), ("pooled_3x3", 3)])
def test_imagenet_weights_fill_all_layers_of_their_shape(make_classifier, monkeypatch, stem, channels):
    with torch.random.fork_rng():
        given = resnet18().state_dict()
    asked = []
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda _, **options: asked.append(options) or given)
    classifier = make_classifier(architecture="resnet18", width=None, stem=stem, channels=channels)
    before = {name: value.clone() for name, value in classifier[1].state_dict().items()}
    load_imagenet_weights(classifier)
    after = classifier[1].state_dict()
    own = {"fc.weight", "fc.bias"} | ({"conv1.weight"} if stem != "imagenet" else set())
    assert all(torch.equal(after[name], before[name]) for name in own)
    same = set(after) - own - {"conv1.weight"}
    assert all(torch.equal(after[name], given[name]) for name in same)
    if stem == "imagenet":
        # A grey image is one whose three colours are equal.
        grey = random_images(2, 1)
        expected = nn.functional.conv2d(grey.expand(2, 3, 32, 32), given["conv1.weight"], stride=2, padding=3)
        torch.testing.assert_close(classifier[1].conv1(grey.expand(2, channels, 32, 32)), expected)
    assert asked == [{"check_hash": True, "weights_only": True}]


def test_weights_that_cannot_be_downloaded_are_said_so(make_classifier, monkeypatch):
    def fail(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", fail)
    classifier = make_classifier(architecture="resnet18", width=None, stem="imagenet")
    with pytest.raises(StorageError, match=r"no route.*allowed without them: initial_weights: null"):
        load_imagenet_weights(classifier)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_vae_gives_codes_and_images_and_survives_its_file(tmp_path, make_vae, channels, batch_norm):
    description = {"channels": channels, "latent_dim": 3, "width": 4, "batch_norm": batch_norm}
    vae, images = make_vae(**description), random_images(4, channels)
    vae.train().encode(images)
    mean, log_variance = vae.eval().encode(images)
    assert mean.shape == log_variance.shape == (4, 3)
    decoded = vae.decode(mean)
    assert decoded.shape == images.shape and decoded.min() >= 0 and decoded.max() <= 1
    torch.testing.assert_close(torch.sigmoid(vae.decode_logits(mean)), decoded)
    save_network(tmp_path / "v.safetensors", vae, **description)
    loaded = load(tmp_path / "v.safetensors", VAE)
    assert not loaded.training and loaded.latent_dim == 3
    assert torch.equal(loaded.encode(images)[1], log_variance) and torch.equal(loaded.decode(mean), decoded)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "layers", "left"), [(32, 4, 2), (48, 4, 3), (64, 5, 2), (96, 5, 3), (128, 6, 2)])
def test_vae_of_larger_images_has_a_layer_more_for_each_halving(tmp_path, make_vae, side, layers, left, channels):
    description = {"channels": channels, "latent_dim": 3, "width": 2, "batch_norm": True, "side": side}
    vae, images = make_vae(**description).eval(), torch.rand((4, channels, side, side), generator=torch.Generator())
    widths = [module.out_channels for module in vae.encoder if isinstance(module, nn.Conv2d)]
    assert widths == [2, 4, 8, 8, 8, 8][:layers]
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in vae.decoder) == layers
    assert vae.encoder[-1].in_features == 8 * left**2 and vae.side == side
    mean, _ = encode(vae, images)
    decoded = decode(vae, mean)
    assert mean.shape == (4, 3) and decoded.shape == images.shape
    with torch.inference_mode():
        searched = decode_and_classify(vae, nn.Flatten())(mean)
    torch.testing.assert_close(searched.reshape(decoded.shape), decoded)
    save_network(tmp_path / "v.safetensors", vae, **description)
    assert torch.equal(decode(load(tmp_path / "v.safetensors", VAE), mean), decoded)


def test_files_of_vaes_without_a_side_are_of_32_pixels(tmp_path, make_vae):
    vae = make_vae(latent_dim=3, width=4)
    shapes = [tuple(weight.shape) for weight in vae.parameters() if weight.ndim > 1]
    down = [(4, 1, 4, 4), (8, 4, 4, 4), (16, 8, 4, 4), (16, 16, 4, 4), (6, 64)]
    assert shapes == [*down, (64, 3), (16, 16, 4, 4), (16, 8, 4, 4), (8, 4, 4, 4), (4, 1, 4, 4)]
    same = make_vae(latent_dim=3, width=4, side=32).state_dict()
    assert all(torch.equal(same[name], value) for name, value in vae.state_dict().items())
    save_network(tmp_path / "v.safetensors", vae, channels=1, latent_dim=3, width=4, batch_norm=False)
    assert load(tmp_path / "v.safetensors", VAE).side == 32


@pytest.mark.parametrize("side", [0, 28, 31, 16, 40, 50, 80, 224])
def test_a_side_that_does_not_halve_is_refused(make_vae, side):
    with (
        pytest.raises(ValueError, match=f"no VAE of side {side}; allowed: 32, 48, 64, 96, 128"),
        torch.random.fork_rng(),
    ):
        make_vae(side=side)


def test_networks_without_weights_compute_where_their_buffers_are_or_on_the_cpu(make_vae):
    class Mean(nn.Module):
        def forward(self, images):
            return images.mean((2, 3))

    images = random_images(5, 3)
    assert torch.equal(predict(Mean(), images), images.mean((2, 3)))
    assert accuracy(Mean(), images, images.mean((2, 3)).argmax(1)) == 1
    assert torch.equal(logits_of(Mean(), images)[0], images.mean((2, 3)))
    assert device_of(Mean()) == torch.device("cpu")
    assert device_of(nn.BatchNorm2d(3, affine=False, device="meta")).type == "meta"
    assert device_of(nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Linear(1, 1, device="meta"))).type == "meta"


def test_a_network_on_a_device_of_another_kind_takes_the_batches_of_a_cpu():
    parts = list(batches_on(torch.device("meta"), torch.zeros(EVALUATION_BATCH["cpu"] + 1, 2)))
    assert [part.shape for part in parts] == [(EVALUATION_BATCH["cpu"], 2), (1, 2)]
    assert {part.device.type for part in parts} == {"meta"}


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 8), ("pooled_3x3", 16), ("cifar", 32)])
def test_stem_sets_the_resolution_of_the_first_block(make_classifier, stem, side):
    network = make_classifier(architecture="resnet18", width=None, stem=stem)
    shapes = []
    network[1].layer1.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    network.eval()(random_images(1, 1))
    assert shapes == [(1, 64, side, side)]


def test_width_sets_the_first_convolution(make_classifier):
    for architecture in ("small_cnn", "vgg", "small_residual"):
        network = make_classifier(architecture=architecture, width=6)
        assert next(module for module in network.modules() if isinstance(module, nn.Conv2d)).out_channels == 6


@pytest.mark.parametrize(("architecture", "width"), [("alexnet", 8), ("small_cnn", None), ("vgg", None)])
def test_unknown_classifier_is_refused(architecture, width):
    with pytest.raises(ValueError, match=architecture):
        build_classifier(architecture, 1, 10, width)


def test_normalise_takes_each_channel_to_mean_0_and_deviation_1():
    images = random_images(50, 3) * torch.tensor([1.0, 0.3, 0.1])[:, None, None] + 0.1
    normalise = Normalise(3)
    torch.testing.assert_close(normalise(images), images)  # before the fit it changes nothing
    normalise.fit(images)
    result = normalise(images)
    torch.testing.assert_close(result.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(result.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    assert set(normalise.state_dict()) == {"mean", "std"}


def test_normalise_bears_a_constant_channel():
    normalise = Normalise(1)
    normalise.fit(torch.full((3, 1, 32, 32), 0.5))
    assert normalise(torch.rand((2, 1, 32, 32), generator=torch.Generator())).isfinite().all()


def test_extreme_log_variances_are_clamped(make_vae):
    vae = make_vae()
    with torch.no_grad():
        vae.encoder[-1].bias[2:] = torch.tensor([1e4, -1e4])
    log_variance = vae.encode(random_images(2, 1))[1]
    assert log_variance[:, 0].tolist() == [6.0, 6.0] and log_variance[:, 1].tolist() == [-12.0, -12.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "vgg"},
        {"width": 3},
        {"channels": 3},
        {"classes": 4},
        {"architecture": "alexnet"},
        {"architecture": "resnet18", "stem": "cifar"},
        {"colour": 1},
        {"channels": "1"},
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, make_classifier, changes):
    path = tmp_path / "c.safetensors"
    save_network(path, make_classifier(), **{**SMALL, **changes})
    with pytest.raises(StorageError, match=r"c\.safetensors: weights of another network"):
        load(path, build_classifier)


def test_classifier_is_no_vae(tmp_path, make_classifier):
    save_network(tmp_path / "c.safetensors", make_classifier(), **SMALL)
    with pytest.raises(StorageError, match="weights of another network"):
        load(tmp_path / "c.safetensors", VAE)


@pytest.mark.parametrize("kind", ["pickle", "torch.save", "truncated", "missing"])
def test_pickles_and_damaged_files_are_refused_and_not_executed(tmp_path, make_classifier, kind):
    path, mark = tmp_path / "c.safetensors", tmp_path / "executed"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(mark)))
    elif kind == "torch.save":
        torch.save({"weights": Trap(mark)}, path)
    elif kind == "truncated":
        save_network(path, make_classifier(), **SMALL)
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StorageError, match=r"c\.safetensors"):
        load(path, build_classifier)
    assert not mark.exists()


def test_loading_leaves_the_global_generator_alone(tmp_path, make_classifier):
    save_network(tmp_path / "c.safetensors", make_classifier(), **SMALL)
    before = torch.get_rng_state()
    load_network(tmp_path / "c.safetensors", build_classifier)
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    assert torch.equal(after, before)


@pytest.mark.parametrize(("inputs", "outputs", "height", "width"), [(3, 5, 2, 2), (4, 1, 3, 7), (1, 2, 1, 1)])
def test_subpixel_convolution_equals_the_transposed_one(inputs, outputs, height, width):
    with Streams(0).seeding_torch("tests"):
        transposed = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1).double()
        features = torch.randn(2, inputs, height, width, dtype=torch.float64)
        subpixel = SubpixelConvolution(transposed)
    torch.testing.assert_close(subpixel(features), transposed(features))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_decoding_and_classifying_at_once_equals_one_after_the_other(make_vae, make_classifier, batch_norm):
    vae, classifier = make_vae(batch_norm=batch_norm, channels=3), make_classifier(channels=3)
    vae.decode(torch.randn(50, 2, generator=torch.Generator().manual_seed(0)))  # moves batch norm's statistics
    before = {name: weight.clone() for name, weight in vae.eval().state_dict().items()}
    codes = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    network = decode_and_classify(vae, classifier.eval())
    torch.testing.assert_close(network(codes), classifier(vae.decode(codes)), atol=1e-5, rtol=1e-4)
    network.to(torch.bfloat16)  # a copy: the networks themselves stay as they are
    assert all(torch.equal(weight, before[name]) for name, weight in vae.state_dict().items())
