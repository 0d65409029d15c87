"""The feature term of the autoencoder's loss: what it measures, what it trains, and that without it nothing changes."""

import json
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import tiny_cell
import torch
from matplotlib import pyplot
from test_vae import generator, stripes, vae_settings
from torch import nn

from defuse.core.errors import StorageError
from defuse.core.params_file import load_params
from defuse.core.storage import read_json, read_table, write_table
from defuse.evidence.results import measures_by_seed
from defuse.evidence.tables import table_measures
from defuse.models import evaluation
from defuse.models.autoencoder import kl_per_dimension, reconstruction_loss
from defuse.models.autoencoder_training import measure, train_vae
from defuse.models.evaluation import EVALUATION_BATCH
from defuse.models.features import FeatureLayers, feature_distance, feature_squares
from defuse.showing import drawing, study_figures
from defuse.showing.report import arms_table
from experiments.shared.cell import Cell
from experiments.shared.trained import features_file, load_features


class Halves(nn.Module):
    """Two layers: the left and the right half of an image, times a gain."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain), requires_grad=False)

    def forward(self, images):
        return [self.gain * images[..., :1], self.gain * images[..., 1:]]


def distances(features, reconstructed, images):
    return feature_distance(*feature_squares(features, reconstructed, images))


def flat(*rows):
    """Images of one row of two pixels."""
    return torch.tensor(rows)[:, None, None, :]


@pytest.fixture
def make_features(make_classifier):
    """Function that makes frozen layers of a tiny vgg, whose batch norms have statistics of their own."""

    def make(seed=0):
        classifier = make_classifier(seed, architecture="vgg").train()
        with torch.no_grad():
            for _ in range(30):
                classifier(torch.rand((16, 1, 32, 32), generator=generator(seed)))
        return FeatureLayers(classifier)

    return make


def state(network):
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


# The term


def test_the_distance_is_that_computed_by_hand():
    images, reconstructed = flat([1.0, 2.0], [3.0, 4.0]), flat([1.0, 2.0], [2.0, 6.0])
    # Left: differences 0 and 1, mean square (1 + 9) / 2; right: 0 and 4, (4 + 16) / 2.
    torch.testing.assert_close(distances(Halves(), reconstructed, images), torch.tensor([0.0, 1 / 5 + 4 / 10]))


def test_each_layer_is_averaged_over_its_places():
    squares = feature_squares(lambda images: [images], flat([3.0, 5.0]), flat([1.0, 2.0]))
    assert [part.tolist() for part in squares] == [[[(4 + 9) / 2]], [[(1 + 4) / 2]]]


def test_equal_images_have_no_distance(make_features, images):
    assert distances(make_features(), images, images).tolist() == [0.0] * len(images)


def test_the_scale_of_the_features_changes_nothing():
    images, reconstructed = flat([1.0, 2.0], [3.0, 4.0]), flat([0.5, 2.5], [2.0, 6.0])
    whole, half = (distances(Halves(gain), reconstructed, images) for gain in (1.0, 0.5))
    torch.testing.assert_close(half, whole)


def test_the_denominators_are_means_over_the_batch():
    images, reconstructed = flat([1.0, 1.0], [3.0, 3.0]), flat([2.0, 2.0], [3.0, 3.0])
    alone = distances(Halves(), reconstructed[:1], images[:1])
    together = distances(Halves(), reconstructed, images)
    assert alone.tolist() == [2.0] and together.tolist() == pytest.approx([2 / 5, 0.0])


def test_a_layer_that_is_silent_on_every_image_counts_nothing():
    images, reconstructed = flat([0.0, 1.0], [0.0, 2.0]), flat([0.0, 2.0], [0.0, 2.0])
    assert distances(Halves(), reconstructed, images).tolist() == pytest.approx([1 / 2.5, 0.0])


def test_the_layers_are_what_the_blocks_of_the_vgg_give_out(make_classifier, images):
    classifier = make_classifier(architecture="vgg")
    features, given = FeatureLayers(classifier), []
    body = classifier[1]
    for number in (6, 13, 20):  # where each pooling takes its input
        assert isinstance(body[number], nn.MaxPool2d | nn.AdaptiveAvgPool2d)
        body[number].register_forward_hook(lambda _, inputs, output: given.append(inputs[0]))
    with torch.no_grad():
        classifier(images)
        layers = features(images)
    assert [tuple(layer.shape[1:]) for layer in layers] == [(2, 32, 32), (4, 16, 16), (8, 8, 8)]
    assert all(torch.equal(*pair) for pair in zip(layers, given[:3], strict=True))
    assert all((layer >= 0).all() for layer in layers)  # after ReLU


def test_the_vgg_is_frozen_and_the_same(make_classifier):
    classifier = make_classifier(architecture="vgg").train()
    features = FeatureLayers(classifier)
    assert not any(module.training for module in features.modules())
    assert not any(weight.requires_grad for weight in features.parameters())
    assert features.blocks[0].weight is classifier[1][0].weight  # no copy


def test_the_gradient_reaches_the_reconstruction_and_not_the_features(make_features, images):
    features, reconstructed = make_features(), (0.5 * images).requires_grad_()
    targets = images.clone().requires_grad_()
    distances(features, reconstructed, targets).sum().backward()
    assert (reconstructed.grad.abs().sum((1, 2, 3)) > 0).all() and targets.grad is None
    assert all(weight.grad is None for weight in features.parameters())


# Training with it


def trained(make_vae, machine, features, **changes):
    vae = make_vae(batch_norm=True)
    settings = vae_settings(batch_norm=True, **changes)
    curve = train_vae(vae, stripes(32), stripes(8), settings, machine, generator(), 0, "toy", features=features)
    return vae, curve


def test_without_weight_the_bytes_are_those_of_a_training_without_features(make_vae, make_features, machine):
    for likelihood in ("bernoulli", "gaussian"):
        (plain, curve), (measured, with_column) = (
            trained(make_vae, machine, features, likelihood=likelihood, epochs=3)
            for features in (None, make_features())
        )
        assert state(plain) == state(measured)
        assert [row.keys() - curve[0].keys() for row in with_column] == [{"feature_distance"}] * 3
        assert [{name: row[name] for name in curve[0]} for row in with_column] == curve


def test_without_features_the_first_loss_is_the_plain_one(make_vae, machine):
    settings = vae_settings(epochs=1, batch_size=16, learning_rate=1e-30)
    vae, images = make_vae(), stripes(16)
    (row,) = train_vae(vae, images, stripes(4), settings, machine, generator(), 0, "toy")
    draws = generator()
    batch = images[torch.randperm(16, generator=draws)]
    with torch.no_grad():
        mean, log_variance = vae.encode(batch)
        logits = vae.decode_logits(mean + torch.randn(mean.shape, generator=draws) * torch.exp(0.5 * log_variance))
    plain = reconstruction_loss(logits, batch, "bernoulli", vae.scale) + kl_per_dimension(mean, log_variance).sum(1)
    assert row["training_loss"] == pytest.approx(float(plain.mean()), rel=1e-5)


def test_the_weight_multiplies_the_term_and_no_other(make_vae, make_features, machine):
    def first_loss(weight):
        still = {"epochs": 1, "batch_size": 32, "learning_rate": 1e-30}
        return trained(make_vae, machine, make_features(), feature_weight=weight, **still)[1][0]["training_loss"]

    plain, term = first_loss(0.0), first_loss(1e4) - first_loss(0.0)
    assert term > 1000 and first_loss(3e4) - plain == pytest.approx(3 * term, rel=1e-3)


def test_a_training_with_the_term_ends_nearer_in_features_and_leaves_the_network_as_it_was(
    make_vae, make_features, machine
):
    features = make_features()
    before = state(features)
    plain, termed = (
        trained(make_vae, machine, features, feature_weight=weight, epochs=40)[1][-1] for weight in (0.0, 3000.0)
    )
    assert termed["feature_distance"] < 0.9 * plain["feature_distance"]
    assert state(features) == before and not any(module.training for module in features.modules())


def test_the_elbo_of_the_same_network_is_the_same_with_features(make_vae, make_features, images):
    vae = make_vae().eval()
    plain = measure(vae, images, "bernoulli", generator())
    measured = measure(vae, images, "bernoulli", generator(), make_features())
    assert measured.pop("feature_distance") > 0 and measured == plain


def test_the_measured_distance_is_that_of_all_images_whatever_the_batches(make_vae, make_features, images, monkeypatch):
    vae, features = make_vae().eval(), make_features()
    with torch.no_grad():
        expected = float(distances(features, vae.decode(vae.encode(images)[0]), images).mean())
    for size in (24, 7):
        monkeypatch.setattr(evaluation, "EVALUATION_BATCH", {**EVALUATION_BATCH, "cpu": size})
        measured = measure(vae, images, "bernoulli", generator(), features)
        assert measured["feature_distance"] == pytest.approx(expected, rel=1e-4)


def test_a_weight_without_features_is_refused(make_vae, machine):
    with pytest.raises(ValueError, match=r"feature_weight is 5\.0, and there are no features to weigh"):
        trained(make_vae, machine, None, feature_weight=5.0)


# The stages and what they show


def test_the_training_of_a_vae_belongs_to_the_network_that_it_was_made_with(project, monkeypatch):
    monkeypatch.chdir(project)
    found = []
    monkeypatch.setattr("experiments.shared.vae_training.fingerprint", lambda *made, **_: found.append(made) or {})
    tiny_cell.run_stage("train_vae")
    assert found[0][1] == {
        "data": tiny_cell.DATA,
        "features": Path("artifacts/train_features/digits/features.safetensors"),
    }


def test_figure_and_report_name_the_term_of_the_arms_that_have_it(project, tmp_path):
    vaes = read_table(project / "artifacts/ablate_vae/digits/0/vaes.csv")
    vaes.insert(0, "seed", 0)
    write_table(tmp_path / "digits_vaes.csv", vaes)
    write_table(tmp_path / "digits_measures.csv", table_measures(vaes, "VAE", "vae"))
    shutil.copy(project / "artifacts/prepare/digits/provenance.json", tmp_path)
    with matplotlib.rc_context():
        drawing.set_theme()
        figure = study_figures.vaes(tmp_path)
        named = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        pyplot.close(figure)
    assert named == [
        "train vae (bernoulli, 2 latent, width 4)",
        "plain (gaussian, 2 latent, width 4)",
        "features (gaussian + features, 2 latent, width 4)",
    ]
    rows = [line.split(" | ")[0] for line in arms_table(measures_by_seed(tmp_path), "VAE").splitlines()[2:]]
    assert rows == ["| train vae", "| plain", "| features (+ features, weight 10000)"]


@pytest.fixture(scope="module")
def project(shipped_tree, tmp_path_factory):
    arm = {"latent_dim": 2, "width": 4, "likelihood": "gaussian"}
    arms = {"plain": {**arm, "feature_weight": 0.0}, "features": {**arm, "feature_weight": 1e4}}
    tree = tiny_cell.small_params(shipped_tree, ablate_vae={"arms": arms})
    stages = ("train_classifier", "train_features", "train_vae", "train_oracle", "calibrate_oracle", "ablate_vae")
    return tiny_cell.finished_project(tmp_path_factory.mktemp("features"), tree, stages)


def test_the_stage_writes_a_network_its_curve_and_its_accuracy(project, monkeypatch, machine):
    monkeypatch.chdir(project)
    cell = Cell(load_params(Path("params.yaml")), "train_vae", "digits", 0)
    assert isinstance(load_features(cell, machine), FeatureLayers)
    folder = features_file(cell).parent
    assert sorted(path.name for path in folder.iterdir()) == ["curve.csv", "features.safetensors", "metrics.json"]
    accuracy = read_table(folder / "curve.csv").validation_accuracy.iloc[-1]
    assert read_json(folder / "metrics.json")["validation_accuracy"] == pytest.approx(accuracy, rel=1e-6)
    assert "feature_distance" in read_table(cell.folder() / "curve.csv")


def test_the_network_of_another_architecture_is_refused(project, monkeypatch, machine):
    monkeypatch.chdir(project)
    cell = Cell(load_params(Path("params.yaml")), "train_vae", "digits", 0)
    monkeypatch.setattr("experiments.shared.trained.features_file", lambda _: tiny_cell.CLASSIFIER)
    with pytest.raises(StorageError, match="architecture is small_cnn; allowed: vgg"):
        load_features(cell, machine)


def test_arms_with_and_without_the_term_stand_side_by_side(project):
    table = read_table(project / "artifacts/ablate_vae/digits/0/vaes.csv")
    arms = [["train_vae", 2, 0.0], ["plain", 2, 0.0], ["features", 2, 1e4]]
    assert table[["vae", "latent_dim", "feature_weight"]].values.tolist() == arms
    assert np.isfinite(table.feature_distance).all()


def test_one_shipped_arm_differs_from_the_main_chain_in_the_term_alone(shipped_tree):
    for name in ("digits", "svhn", "gtsrb"):  # on MNIST the term would cost more than it can tell
        arms, chain = shipped_tree["ablate_vae"][name]["arms"], shipped_tree["train_vae"][name]
        own = {key: chain[key] for key in ("latent_dim", "width", "likelihood")}
        same = {arm: values["feature_weight"] for arm, values in arms.items() if own.items() <= values.items()}
        # None trains the chain's own once more; with the term if the chain has none, and the other way round.
        ((arm, weight),) = same.items()
        assert (arm, bool(weight)) == (
            ("no_feature_term", False) if chain["feature_weight"] else ("feature_term", True)
        )


def test_the_network_never_sees_a_test_image(project, monkeypatch, shipped_tree, tmp_path):
    def bytes_with(test_images):
        tiny_cell.write_project(tmp_path, json.loads((project / "params.yaml").read_text(encoding="utf-8")))
        arrays = tiny_cell.load_arrays(tiny_cell.DATA)
        tiny_cell.save_arrays(tiny_cell.DATA, **{**arrays, "x_test": test_images(arrays["x_test"])})
        tiny_cell.run_stage("train_features")
        return (tmp_path / "artifacts/train_features/digits/features.safetensors").read_bytes()

    monkeypatch.chdir(tmp_path)
    assert bytes_with(lambda images: images) == bytes_with(lambda images: 255 - images)
