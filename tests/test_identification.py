"""Latent search: noise, confirmed mistakes, and a case computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from defuse.core import params
from defuse.core.random_streams import Streams, item_generator
from defuse.method.identification import (
    Seeds,
    classes_and_gaps,
    doubtful_gap,
    draw_noise,
    find_mistakes,
    perturb,
    prepare_seeds,
    search_logits,
)
from defuse.models.evaluation import decode, encode, predict
from defuse.models.machine import Machine
from defuse.models.search_network import decode_and_classify
from defuse.models.subject import Subject

KEY = Streams(0, ("identify", "tests")).key("noise")
MACHINE = Machine(torch.device("cpu"), torch.float32, torch.channels_last, compiled=False)
NORMAL = params.Noise({"normal": 0.3})
POSTERIOR = params.Noise({"posterior": 2.0})
RAW = params.Noise({"beta": 50.0})
CENTRED = params.Noise({"beta_centred": 50.0})
# Beta(1e10, 1e10) is 0.5 up to a few millionths: every draw shifts each coordinate by the same.
SHIFT = params.Noise({"beta": 1e10})
NO_SHIFT = params.Noise({"beta_centred": 1e10})


class Plane(nn.Module):
    """A VAE without any network: the two pixels of an image are its code; all deviations are 0.1."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def encode(self, images):
        codes = images[:, 0, 0]
        return codes, torch.full_like(codes, 2 * np.log(0.1))

    def decode(self, codes):
        return self.gain * codes[:, None, None, :]


class Threshold(nn.Module):
    """Class 1 where the first pixel is above 0, else class 0."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, images):
        first = self.gain * images[:, 0, 0, 0]
        return torch.stack([-first, first], 1)


def seeds_at(mean, label, index=None):
    """Seeds of the plane at `mean` (N, 2), with the predictions that the threshold gives."""
    mean = np.asarray(mean, np.float32)
    prediction = (mean[:, 0] > 0).astype(np.int64)
    index = np.arange(len(mean)) if index is None else np.asarray(index)
    return Seeds(index, np.asarray(label), mean, np.full_like(mean, 0.1), prediction, prediction)


class Search(nn.Module):
    """What `decode_and_classify` makes of a plane and a classifier."""

    def __init__(self, vae, classifier):
        super().__init__()
        self.vae, self.classifier = vae, classifier

    def forward(self, codes):
        return self.classifier(self.vae.decode(codes))


def toy(network=Search):
    """The plane and the threshold; the search sees them through a network of this kind."""
    subject = Subject(Threshold(), Plane(), MACHINE)
    vars(subject)["search_network"] = network(subject.vae, subject.classifier)  # of a real decoder it would be copied
    return subject


def search(seeds, noise=NORMAL, draws=20, keep=20, batch_size=1000, subject=None):
    settings = params.Search(seed_source="train", noise=noise, draws=draws, keep=keep)
    return find_mistakes(subject or toy(), seeds, settings, KEY, "toy", batch_size)


def scattered(count, seed=0):
    """Seeds on both sides of the threshold; one in ten has a wrong label."""
    generator = np.random.default_rng(seed)
    mean = generator.normal(0, 0.4, (count, 2))
    wrong = generator.random(count) < 0.1
    return seeds_at(mean, (mean[:, 0] > 0).astype(np.int64) ^ wrong)


def assert_same(first, second):
    for name in ("seed_index", "label", "prediction", "noise_norm", "codes", "raw_failure", "reconstruction_failure"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    assert (first.draws, first.wrong_draws) == (second.draws, second.wrong_draws)


# Noise


@pytest.mark.parametrize(
    ("noise", "mean", "deviation"),
    [
        (RAW, 0.5, [1 / np.sqrt(4 * 101)] * 3),
        (CENTRED, 0.0, [1 / np.sqrt(4 * 101)] * 3),
        (NORMAL, 0.0, [0.3] * 3),
        (POSTERIOR, 0.0, [0.2, 1.0, 2.0]),
    ],
)
def test_noise_has_its_mean_and_deviation(noise, mean, deviation):
    drawn = draw_noise(noise, 100_000, np.array([0.1, 0.5, 1.0], np.float32), np.random.default_rng(0))
    assert drawn.shape == (100_000, 3) and drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.02 * np.max(deviation))
    np.testing.assert_allclose(drawn.std(0), deviation, rtol=0.02)


def test_beta_noise_stays_within_its_bounds():
    drawn = [draw_noise(noise, 1000, np.ones(2), np.random.default_rng(0)) for noise in (RAW, CENTRED)]
    assert 0 < drawn[0].min() < drawn[0].max() < 1
    np.testing.assert_allclose(drawn[1], drawn[0] - 0.5, atol=1e-6)


def test_codes_are_means_plus_noise_of_each_seeds_own_stream():
    seeds = scattered(6)
    codes, norms = perturb(seeds, POSTERIOR, 4, KEY)
    assert codes.shape == (6, 4, 2) and norms.shape == (6, 4) and codes.dtype == norms.dtype == np.float32
    for position, index in enumerate(seeds.index):
        noise = draw_noise(POSTERIOR, 4, seeds.deviation[position], item_generator(KEY, int(index)))
        np.testing.assert_allclose(codes[position], seeds.mean[position] + noise, rtol=1e-6)
        np.testing.assert_allclose(norms[position], np.sqrt((noise**2).sum(1)), rtol=1e-5)


@given(st.lists(st.integers(0, 29), min_size=1, max_size=30, unique=True), st.sampled_from([NORMAL, RAW, POSTERIOR]))
def test_noise_of_a_seed_does_not_depend_on_the_other_seeds(chosen, noise):
    seeds = scattered(30)
    codes, norms = perturb(seeds, noise, 3, KEY)
    some_codes, some_norms = perturb(seeds.take(np.array(chosen)), noise, 3, KEY)
    np.testing.assert_array_equal(some_codes, codes[chosen])
    np.testing.assert_array_equal(some_norms, norms[chosen])


# By hand


def test_a_shift_by_a_half_makes_mistakes_of_what_lies_half_below_the_threshold():
    #                 to 0.3, wrong   to -0.1, right   to 0.6, right   to 0.7, wrong before as well
    seeds = seeds_at([[-0.2, 1.0], [-0.6, 2.0], [0.1, 3.0], [0.2, 4.0]], [0, 0, 1, 0], index=[11, 12, 13, 14])
    found = search(seeds, SHIFT, draws=3, keep=1)
    assert found.seed_index.tolist() == [11, 14]
    assert found.label.tolist() == [0, 0] and found.prediction.tolist() == [1, 1]
    assert found.raw_failure.tolist() == [False, True] and found.reconstruction_failure.tolist() == [False, False]
    np.testing.assert_allclose(found.codes, [[0.3, 1.5], [0.7, 4.5]], atol=1e-4)
    np.testing.assert_allclose(found.noise_norm, np.sqrt(0.5), atol=1e-4)
    assert (found.draws, found.wrong_draws) == (12, 6)


def test_without_the_shift_only_what_was_wrong_before_is_left():
    found = search(seeds_at([[-0.2, 1.0], [-0.6, 2.0], [0.1, 3.0], [0.2, 4.0]], [0, 0, 1, 0]), NO_SHIFT, 3, 3)
    assert found.seed_index.tolist() == [3, 3, 3] and found.raw_failure.all() and not found.reconstruction_failure.any()
    assert found.wrong_draws == 3


def test_a_mistake_is_the_vaes_only_where_the_image_is_right_and_its_reconstruction_wrong():
    seeds = seeds_at([[0.2, 1.0]] * 4, [0, 0, 1, 1])
    seeds = replace(seeds, raw_prediction=np.array([0, 1, 0, 1]))  # the reconstructions are all called 1
    found = search(seeds, NORMAL, draws=50, keep=1)
    assert found.seed_index.tolist() == [0, 1, 2, 3]
    assert found.raw_failure.tolist() == [False, True, True, False]
    assert found.reconstruction_failure.tolist() == [True, False, False, False]


@pytest.mark.parametrize("keep", [1, 3, 20])
@pytest.mark.parametrize("noise", [NORMAL, CENTRED, POSTERIOR])
def test_search_agrees_with_a_loop(noise, keep):
    seeds = scattered(60)
    expected, wrong_draws = [], 0
    for index, label, mean in zip(seeds.index, seeds.label, seeds.mean):
        noise_of_seed = draw_noise(noise, 20, np.full(2, 0.1), item_generator(KEY, int(index)))
        wrong = sorted(
            (float(np.linalg.norm(step)), tuple((mean + step).tolist()))
            for step in noise_of_seed
            if ((mean + step)[0] > 0) != label
        )
        wrong_draws += len(wrong)
        expected += [(int(index), int(label), norm, code, (mean[0] > 0) != label) for norm, code in wrong[:keep]]
    found = search(seeds, noise, draws=20, keep=keep)
    assert found.seed_index.tolist() == [row[0] for row in expected]
    assert found.label.tolist() == [row[1] for row in expected]
    assert found.prediction.tolist() == [1 - row[1] for row in expected]
    np.testing.assert_allclose(found.noise_norm, [row[2] for row in expected], rtol=1e-5)
    np.testing.assert_allclose(found.codes, [row[3] for row in expected], rtol=1e-5)
    assert found.raw_failure.tolist() == [row[4] for row in expected] and not found.reconstruction_failure.any()
    assert (found.draws, found.wrong_draws) == (1200, wrong_draws)
    assert len(set(found.seed_index.tolist())) > 5


# Properties


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(1, 200), st.integers(0, 9))
def test_batch_size_changes_nothing_and_keep_is_a_bound(count, draws, keep, batch_size, seed):
    keep = min(keep, draws)
    seeds = scattered(count, seed)
    found = search(seeds, NORMAL, draws, keep, batch_size)
    assert_same(found, search(seeds, NORMAL, draws, keep, 10_000))
    assert np.bincount(found.seed_index, minlength=count).max() <= keep
    assert found.draws == count * draws and len(found.label) <= found.wrong_draws <= found.draws
    everything = search(seeds, NORMAL, draws, draws)
    assert len(everything.label) == everything.wrong_draws
    for index in np.unique(everything.seed_index):
        norms = np.sort(everything.noise_norm[everything.seed_index == index])
        np.testing.assert_array_equal(found.noise_norm[found.seed_index == index], norms[:keep])


@pytest.mark.parametrize("batch_size", [7, 64, 1000])
def test_mistakes_of_real_networks_are_confirmed_and_the_same_in_any_batch(
    make_vae, make_classifier, images, batch_size
):
    vae, classifier = make_vae(latent_dim=4).eval(), make_classifier().eval()
    wide = torch.randn((200, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # so that no class takes all
        classifier[1][-1].bias -= predict(classifier, decode(vae, wide)).mean(0)
    subject = Subject(classifier, vae, MACHINE)
    seeds = prepare_seeds(subject, images, predict(classifier, images).argmax(1))
    noise = params.Noise({"normal": 0.7})
    found = search(seeds, noise, 10, 4, batch_size, subject)
    assert 10 < len(found.label) < 96
    predictions = predict(classifier, decode(vae, torch.from_numpy(found.codes))).argmax(1).numpy()
    np.testing.assert_array_equal(predictions, found.prediction)
    assert (found.prediction != found.label).all()
    np.testing.assert_array_equal(found.label, seeds.label[found.seed_index])
    np.testing.assert_allclose(
        found.noise_norm, np.linalg.norm(found.codes - seeds.mean[found.seed_index], axis=1), rtol=1e-4
    )
    whole = search(seeds, noise, 10, 4, 240, subject)
    np.testing.assert_array_equal(found.codes, whole.codes)
    np.testing.assert_array_equal(found.seed_index, whole.seed_index)
    assert found.wrong_draws == whole.wrong_draws


def rough(make_vae, make_classifier):
    """A VAE of varied images and a classifier whose classes are about equally frequent, searched in bfloat16."""
    vae, classifier = make_vae(latent_dim=4, width=8).eval(), make_classifier(width=4).eval()
    wide = torch.randn((400, 4), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in vae.decoder:
            for weight in layer.parameters():
                weight *= 3
        classifier[1][-1].bias -= predict(classifier, decode(vae, wide)).mean(0)
    return Subject(classifier, vae, replace(MACHINE, precision=torch.bfloat16))


def test_mistakes_found_in_bfloat16_are_mistakes_in_float32_too(make_vae, make_classifier, images):
    subject = rough(make_vae, make_classifier)
    seeds = prepare_seeds(subject, images, predict(subject.classifier, images).argmax(1))
    noise = params.Noise({"normal": 2.0})
    found = search(seeds, noise, 40, 40, 256, subject)
    exact = search(seeds, noise, 40, 40, 256, replace(subject, machine=MACHINE))
    predictions = predict(subject.classifier, decode(subject.vae, torch.from_numpy(found.codes))).argmax(1).numpy()
    np.testing.assert_array_equal(found.prediction, predictions)
    assert (found.prediction != found.label).all() and len(found.label) > 100
    assert found.wrong_draws != exact.wrong_draws  # so bfloat16 did err, and what it kept wrongly is gone
    both = {tuple(code) for code in found.codes.tolist()} & {tuple(code) for code in exact.codes.tolist()}
    assert len(both) == len(found.label) >= 0.97 * len(exact.label)


class Blurred(Search):
    """A search network that sees the first pixel wrong by up to 0.02."""

    def forward(self, codes):
        return self.classifier(self.vae.decode(codes) + 0.02 * torch.sin(1000 * codes[:, None, None, :]))


def test_the_next_nearest_mistake_replaces_what_float32_gets_right():
    seeds = scattered(300)
    exact = search(seeds, NORMAL, draws=20, keep=2)
    found = search(seeds, NORMAL, draws=20, keep=2, subject=toy(Blurred))
    assert ((found.codes[:, 0] > 0) != found.label).all() and (found.prediction != found.label).all()
    assert found.doubtful > found.dropped > 10
    assert np.bincount(found.seed_index).max() == 2
    nearest = {(index, norm) for index, norm in zip(exact.seed_index, exact.noise_norm)}
    same = sum((index, norm) in nearest for index, norm in zip(found.seed_index, found.noise_norm))
    assert len(found.label) >= 0.98 * len(exact.label) and same >= 0.94 * len(exact.label)


def test_classes_beyond_the_doubtful_gap_are_those_of_float32(make_vae, make_classifier):
    subject = rough(make_vae, make_classifier)
    vae, classifier, network = subject.vae, subject.classifier, subject.search_network
    codes = np.random.default_rng(0).normal(0, 2, (2000, 4)).astype(np.float32)
    logits, exact = search_logits(network, codes, 100), predict(classifier, decode(vae, torch.from_numpy(codes)))
    (classes, gap), largest = classes_and_gaps(logits), doubtful_gap(logits, exact)
    differ = classes != exact.argmax(1).numpy()
    assert 0 < differ.mean() < 0.1 and gap[differ].max() <= largest
    assert doubtful_gap(search_logits(decode_and_classify(vae, classifier), codes, 100), exact) < 1e-3


def test_gaps_and_doubt_by_hand():
    logits = torch.tensor([[4.0, 1.0, 0.0], [0.0, 0.5, 2.0]])
    classes, gaps = classes_and_gaps(logits)
    assert classes.tolist() == [0, 2]
    np.testing.assert_allclose(gaps, [3 / 4, 1.5 / 2])
    exact = torch.tensor([[4.0, 1.2, 0.0], [0.0, 0.6, 2.0]])
    assert doubtful_gap(logits, exact) == pytest.approx(2 * 0.2 / 4)  # the larger of 0.2 / 4 and 0.1 / 2
    assert doubtful_gap(logits[:0], exact[:0]) == 0


def test_leaving_seeds_out_leaves_the_others_as_they_are():
    seeds = scattered(50)
    chosen = np.flatnonzero(np.arange(50) % 3 == 1)
    whole, part = search(seeds, keep=3), search(seeds.take(chosen), keep=3)
    left = np.isin(whole.seed_index, chosen)
    assert 0 < len(part.label) < len(whole.label)
    np.testing.assert_array_equal(part.codes, whole.codes[left])
    np.testing.assert_array_equal(part.seed_index, whole.seed_index[left])


def test_a_search_without_mistakes_keeps_its_shapes():
    found = search(seeds_at([[-9.0, 0.0], [9.0, 0.0]], [0, 1]), draws=5, keep=2)
    assert found.codes.shape == (0, 2) and found.codes.dtype == np.float32
    assert found.seed_index.shape == found.label.shape == found.noise_norm.shape == (0,)
    assert (found.draws, found.wrong_draws) == (10, 0)


def test_a_search_without_seeds_finds_nothing():
    found = search(scattered(5).take(np.zeros(0, np.int64)))
    assert found.codes.shape == (0, 2) and found.label.dtype == np.int64
    assert (found.draws, found.wrong_draws) == (0, 0)


# Seeds


def test_seeds_hold_codes_and_both_predictions(make_vae, make_classifier, images):
    vae, classifier = make_vae().eval(), make_classifier().eval()
    labels = torch.arange(24) % 3
    seeds = prepare_seeds(Subject(classifier, vae, MACHINE), images, labels)
    mean, deviation = encode(vae, images)
    assert seeds.index.tolist() == list(range(24)) and seeds.label.tolist() == labels.tolist()
    np.testing.assert_array_equal(seeds.mean, mean.numpy())
    np.testing.assert_array_equal(seeds.deviation, deviation.numpy())
    np.testing.assert_array_equal(seeds.raw_prediction, predict(classifier, images).argmax(1))
    np.testing.assert_array_equal(seeds.reconstruction_prediction, predict(classifier, decode(vae, mean)).argmax(1))


def test_correct_seeds_are_right_raw_and_reconstructed():
    four = np.arange(4)
    seeds = Seeds(
        four, np.ones(4, int), *[np.zeros((4, 2), np.float32)] * 2, np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0])
    )
    assert seeds.correct.tolist() == [True, False, False, False]
    assert seeds.take(seeds.correct).index.tolist() == [0]
    assert seeds.take(np.array([3, 1])).index.tolist() == [3, 1]
