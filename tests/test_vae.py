"""The variational autoencoder's losses, training and measures."""

import math

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import distributions

from defuse.core import params
from defuse.core.errors import DivergedError
from defuse.core.params_file import load_params
from defuse.models.autoencoder import SCALE_RATE, kl_per_dimension, learn_scale, reconstruction_loss
from defuse.models.autoencoder_training import measure, train_vae
from defuse.models.evaluation import EVALUATION_BATCH, decode, encode

LIKELIHOODS = ("bernoulli", "gaussian", "ssim")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def vae_settings(**changes):
    return params.TrainVAE(
        **{
            "latent_dim": 2,
            "width": 4,
            "batch_norm": False,
            "likelihood": "bernoulli",
            "beta": 1.0,
            "warmup_share": 0.0,
            "feature_weight": 0.0,
            "epochs": 6,
            "optimizer": "adam",
            "learning_rate": 0.01,
            "momentum": None,
            "weight_decay": 0.0,
            "batch_size": 8,
            "schedule": "constant",
            **changes,
        }
    )


def stripes(count):
    """Images of four kinds, smooth enough for a tiny VAE: a bright half on each side."""
    images = torch.full((count, 1, 32, 32), 0.1)
    for index in range(count):
        part = images[index, 0] if index % 2 else images[index, 0].T
        part[16 * (index // 2 % 2) :][:16] = 0.9
    return images


def pair(channels=1, count=3):
    """Decoder outputs and unrelated images."""
    logits = 2 * torch.randn((count, channels, 32, 32), generator=generator(1))
    return logits, torch.rand((count, channels, 32, 32), generator=generator(2))


# Losses


@given(st.floats(-4, 4), st.floats(-8, 4))
def test_kl_is_that_of_torch(mean, log_variance):
    mean, log_variance = torch.tensor([mean], dtype=torch.float64), torch.tensor([log_variance], dtype=torch.float64)
    posterior = distributions.Normal(mean, torch.exp(0.5 * log_variance))
    expected = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_per_dimension(mean, log_variance), expected.to(torch.float64), atol=1e-6, rtol=1e-5)
    assert kl_per_dimension(mean, log_variance) > -1e-12


def test_kl_agrees_with_monte_carlo():
    mean, log_variance = torch.tensor([0.0, 0.7, -1.5]), torch.tensor([0.0, -2.0, 1.0])
    deviation = torch.exp(0.5 * log_variance)
    samples = mean + deviation * torch.randn((200_000, 3), generator=generator())
    ratio = distributions.Normal(mean, deviation).log_prob(samples) - distributions.Normal(0, 1).log_prob(samples)
    torch.testing.assert_close(kl_per_dimension(mean, log_variance), ratio.mean(0), atol=0.03, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_bernoulli_loss_is_that_of_torch(channels):
    logits, images = pair(channels)
    expected = -distributions.Bernoulli(logits=logits, validate_args=False).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(reconstruction_loss(logits, images, "bernoulli", torch.tensor(0.0)), expected)


@pytest.mark.parametrize("log_scale", [0.0, -1.5, 0.8])
def test_gaussian_loss_is_that_of_torch(log_scale):
    logits, images = pair(3)
    normal = distributions.Normal(torch.sigmoid(logits), math.exp(log_scale))
    loss = reconstruction_loss(logits, images, "gaussian", torch.tensor(log_scale))
    torch.testing.assert_close(loss, -normal.log_prob(images).sum((1, 2, 3)))


def test_gaussian_scale_stops_at_one_grey_level():
    logits, images = pair()
    lowest = reconstruction_loss(logits, images, "gaussian", torch.tensor(math.log(1 / 255)))
    torch.testing.assert_close(reconstruction_loss(logits, images, "gaussian", torch.tensor(-30.0)), lowest)


def test_the_scale_runs_after_the_root_of_the_mean_squared_error(make_vae):
    vae, (logits, images) = make_vae(), pair()
    likeliest = 0.5 * (torch.sigmoid(logits) - images).square().mean().log()
    losses = [reconstruction_loss(logits, images, "gaussian", likeliest + shift).mean() for shift in (-0.01, 0, 0.01)]
    assert losses[1] < losses[0] and losses[1] < losses[2]
    learn_scale(vae, logits, images)
    torch.testing.assert_close(vae.scale, SCALE_RATE * likeliest)
    for _ in range(1000):
        learn_scale(vae, logits, images)
    torch.testing.assert_close(vae.scale, likeliest)
    for _ in range(1000):
        learn_scale(vae, logits, torch.sigmoid(logits))
    assert float(vae.scale) == pytest.approx(math.log(1 / 255), rel=1e-4)  # without any error


def ssim_by_hand(first, second):
    """SSIM of Wang et al. (2004) of two images in [0, 1]: 11x11 Gaussian window of sigma 1.5, reflected borders."""

    def blur(image):
        return gaussian_filter(image, 1.5, truncate=3.5, mode="mirror")

    mean_1, mean_2 = blur(first), blur(second)
    variance_1, variance_2 = blur(first * first) - mean_1**2, blur(second * second) - mean_2**2
    covariance = blur(first * second) - mean_1 * mean_2
    top = (2 * mean_1 * mean_2 + 0.01**2) * (2 * covariance + 0.03**2)
    return float(np.mean(top / ((mean_1**2 + mean_2**2 + 0.01**2) * (variance_1 + variance_2 + 0.03**2))))


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_loss_agrees_with_a_direct_computation(channels):
    logits, images = pair(channels)
    images = 0.7 * torch.sigmoid(logits) + 0.3 * images
    expected = [
        1 - np.mean([ssim_by_hand(*planes) for planes in zip(one.double().numpy(), other.double().numpy())])
        for one, other in zip(torch.sigmoid(logits), images)
    ]
    loss = reconstruction_loss(logits, images, "ssim", torch.tensor(0.0))
    assert loss.tolist() == pytest.approx(expected, abs=1e-4)
    assert 0.02 < min(expected) < max(expected) < 0.9


@pytest.mark.parametrize("count", [1, 3])
def test_ssim_loss_is_0_for_the_image_and_above_1_for_its_negative(count):
    images = pair(count=count)[1].clamp(0.01, 0.99)
    same = reconstruction_loss(torch.logit(images), images, "ssim", torch.tensor(0.0))
    negative = reconstruction_loss(torch.logit(1 - images), images, "ssim", torch.tensor(0.0))
    assert same.shape == negative.shape == (count,)
    assert same.abs().max() < 1e-4 and (negative > 1).all() and (negative <= 2).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_each_image_has_its_own_loss(likelihood):
    logits, images = pair()
    scale = torch.tensor(-1.0)
    together = reconstruction_loss(logits, images, likelihood, scale)
    alone = [reconstruction_loss(logits[i : i + 1], images[i : i + 1], likelihood, scale) for i in range(3)]
    assert together.shape == (3,)
    torch.testing.assert_close(together, torch.cat(alone))
    better = reconstruction_loss(torch.logit(images.clamp(0.01, 0.99)), images, likelihood, scale)
    assert (better < together).all()


# Training


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_training_lowers_the_loss(make_vae, machine, likelihood, batch_norm):
    vae, images = make_vae(batch_norm=batch_norm), stripes(32)
    beta = 0.01 if likelihood == "ssim" else 1.0
    settings = vae_settings(likelihood=likelihood, batch_norm=batch_norm, beta=beta, epochs=40)
    before = measure(vae.eval(), images, likelihood, generator())
    curve = train_vae(vae, images, images[:8], settings, machine, generator(), 0, "toy")
    after = measure(vae, images, likelihood, generator())
    assert [row["epoch"] for row in curve] == list(range(1, 41)) and not vae.training
    assert curve[-1]["training_loss"] < curve[0]["training_loss"]
    assert after["reconstruction_loss"] < before["reconstruction_loss"]
    assert (vae.scale != 0) == (likelihood == "gaussian")


def test_same_seed_gives_the_same_bytes(make_vae, machine):
    def train(weights, batches):
        vae = make_vae(weights)
        curve = train_vae(vae, stripes(16), stripes(4), vae_settings(epochs=2), machine, generator(batches), 0, "toy")
        return [tensor.numpy().tobytes() for tensor in vae.state_dict().values()], curve

    assert train(0, 0) == train(0, 0)
    assert train(0, 0) != train(0, 1) and train(0, 0) != train(1, 0)


def losses_at_rest(vae, machine, settings):
    """Training losses of one-step epochs whose steps are too small to change a weight."""
    still = settings.model_copy(update={"batch_size": 16, "learning_rate": 1e-30, "likelihood": "bernoulli"})
    return [row["training_loss"] for row in train_vae(vae, stripes(16), stripes(4), still, machine, generator(), 0, "")]


def mean_kl(vae):
    mean, deviation = encode(vae, stripes(16))
    return float(kl_per_dimension(mean, 2 * deviation.log()).sum(1).mean())


def test_beta_rises_over_the_warm_up(make_vae, machine):
    def first_loss(beta, warmup_share):
        settings = vae_settings(beta=beta, warmup_share=warmup_share, epochs=10)
        return losses_at_rest(make_vae(), machine, settings)[0]

    reconstruction = first_loss(0.0, 1.0)
    whole = first_loss(1000.0, 0.0) - reconstruction
    assert whole == pytest.approx(1000 * mean_kl(make_vae()), rel=1e-3)
    assert first_loss(1000.0, 0.1) - reconstruction == pytest.approx(whole, rel=1e-3)
    assert first_loss(1000.0, 1.0) - reconstruction == pytest.approx(whole / 10, rel=1e-3)
    assert first_loss(500.0, 0.5) - reconstruction == pytest.approx(whole / 10, rel=1e-3)


@pytest.mark.parametrize("dataset", ["digits", "mnist", "svhn", "gtsrb"])
def test_a_training_cut_to_few_epochs_ends_with_the_whole_beta(make_vae, machine, dataset):
    shipped = load_params(ROOT / "params.yaml").train_vae[dataset]
    cut = shipped.model_copy(update={"epochs": 30, "beta": 1000.0, "feature_weight": 0.0})
    first, *_, last = losses_at_rest(make_vae(), machine, cut)
    reconstruction = losses_at_rest(make_vae(), machine, cut.model_copy(update={"beta": 0.0}))[-1]
    assert last - reconstruction == pytest.approx(1000 * mean_kl(make_vae()), rel=1e-3)
    assert first - reconstruction < 0.5 * (last - reconstruction)


def test_what_is_measured_cannot_change_the_weights(make_vae, machine):
    def weights(validation, validation_seed):
        vae = make_vae(batch_norm=True)
        settings = vae_settings(batch_norm=True, epochs=3)
        train_vae(vae, stripes(16), stripes(validation), settings, machine, generator(), validation_seed, "toy")
        return [tensor.numpy().tobytes() for tensor in vae.state_dict().values()]

    assert weights(4, 0) == weights(1, 0) == weights(12, 0) == weights(4, 1)


def test_the_validation_elbo_has_the_same_noise_at_each_epoch(make_vae, machine):
    def elbos(validation_seed):
        settings = vae_settings(epochs=3, learning_rate=1e-30)
        vae = make_vae()
        curve = train_vae(vae, stripes(16), stripes(4), settings, machine, generator(), validation_seed, "toy")
        return [row["elbo"] for row in curve]

    first, *others = elbos(0)
    assert others == [first, first]
    assert first != elbos(1)[0]


def test_large_beta_empties_the_code_and_beta_0_does_not(make_vae, machine):
    kls = []
    for beta in (0.0, 100.0):
        settings = vae_settings(beta=beta, epochs=10)
        kls.append(train_vae(make_vae(), stripes(32), stripes(8), settings, machine, generator(), 0, "toy")[-1]["kl"])
    assert kls[1] < 0.5 < kls[0]


def test_huge_learning_rate_is_reported(make_vae, machine):
    with pytest.raises(DivergedError, match="lower learning_rate"):
        train_vae(make_vae(), stripes(16), stripes(4), vae_settings(learning_rate=1e30), machine, generator(), 0, "toy")


# Measures


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_elbo_is_minus_the_sum_of_its_terms(make_vae, images, likelihood):
    vae = make_vae(latent_dim=3).eval()
    measured = measure(vae, images, likelihood, generator())
    assert measured["elbo"] == pytest.approx(-(measured["reconstruction_loss"] + measured["kl"]))
    assert len(measured["kl_per_dimension"]) == 3
    assert measured["kl"] == pytest.approx(sum(measured["kl_per_dimension"]), rel=1e-5)
    mean, deviation = encode(vae, images)
    kl = kl_per_dimension(mean, 2 * deviation.log()).mean(0)
    assert measured["kl_per_dimension"] == pytest.approx(kl.tolist(), rel=1e-3, abs=1e-6)
    noise = torch.randn(mean.shape, generator=generator())
    with torch.no_grad():
        loss = reconstruction_loss(vae.decode_logits(mean + noise * deviation), images, likelihood, vae.scale)
    assert measured["reconstruction_loss"] == pytest.approx(float(loss.mean()), rel=1e-4)
    assert measured["squared_error"] == pytest.approx(float((decode(vae, mean) - images).square().mean()), rel=1e-4)


def test_measure_depends_on_its_generator_alone(make_vae, images):
    vae = make_vae().eval()
    first, again, other = (measure(vae, images, "bernoulli", generator(seed)) for seed in (0, 0, 1))
    assert first == again
    assert first["reconstruction_loss"] != other["reconstruction_loss"] and first["kl"] == other["kl"]


def test_encoding_and_decoding_in_batches_change_nothing(make_vae):
    vae = make_vae(width=2).eval()
    images = torch.rand((EVALUATION_BATCH["cpu"] + 5, 1, 32, 32), generator=generator())
    mean, deviation = encode(vae, images)
    with torch.no_grad():
        torch.testing.assert_close(
            (mean[-6:], deviation[-6:] ** 2),
            (vae.encode(images[-6:])[0], vae.encode(images[-6:])[1].exp()),
            atol=1e-5,
            rtol=1e-4,
        )
        torch.testing.assert_close(decode(vae, mean)[-6:], vae.decode(mean[-6:]), atol=1e-5, rtol=1e-4)
    assert decode(vae, mean).shape == images.shape
