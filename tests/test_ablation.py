"""What one noise does, on a case computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_cell
import torch
from torch import nn

from defuse.annotators.oracles import Annotators
from defuse.core import params
from defuse.core.params import compared_noises
from defuse.core.storage import read_table
from defuse.core.verdicts import Cause
from defuse.method.identification import Seeds, reconstructed_accuracy
from defuse.models.machine import Machine
from defuse.models.subject import Subject
from defuse.studies.searches import noise_row, search_row

# Beta(1e10, 1e10) is 0.5 up to a few millionths: every draw shifts the code by the same.
SHIFT = params.Noise({"beta": 1e10})
KEY = np.array([1, 2], np.uint64)
MACHINE = Machine(torch.device("cpu"), torch.float32, torch.contiguous_format, compiled=False)


class Pixel(nn.Module):
    """A VAE without any network: the one pixel of an image is its code."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def decode(self, codes):
        return self.gain * codes[:, None, None]


class Steps(nn.Module):
    """The class of the last bound that the pixel passes; beyond `unsure` all classes are equally likely."""

    def __init__(self, *bounds, unsure=9.0):
        super().__init__()
        self.bounds, self.unsure = nn.Parameter(torch.tensor(bounds), requires_grad=False), unsure

    def forward(self, images):
        pixel = images[:, 0, 0]
        step = (pixel > self.bounds).sum(1)
        return 9.0 * nn.functional.one_hot(step, 3) * (pixel < self.unsure)


def row_of(means, draws):
    """The row of seeds of class 0 at `means`: the classifier calls a pixel above 0 class 1."""
    return noise_row(annotators(), seeds_at(means), SHIFT, draws, KEY)


def annotators():
    subject = Subject(Steps(0.0), Pixel(), MACHINE)
    vars(subject)["search_network"] = Composed()  # in place of what is made of a real decoder
    return Annotators(subject, [Steps(0.15, 0.3, unsure=0.42)] * 3, [0.5] * 3, 0.6)


def seeds_at(means, reconstructed=None):
    """Seeds of class 0 at these codes, whose plain reconstruction is called `reconstructed`."""
    count, zeros = len(means), np.zeros(len(means), np.int64)
    codes = np.array(means, np.float32)[:, None]
    return Seeds(
        np.arange(count),
        zeros,
        codes,
        np.ones_like(codes),
        zeros,
        zeros if reconstructed is None else np.array(reconstructed),
    )


class Composed(nn.Module):
    """Decoder and classifier as one network, in float32."""

    def __init__(self):
        super().__init__()
        self.vae, self.classifier = Pixel(), Steps(0.0)

    def forward(self, codes):
        return self.classifier(self.vae.decode(codes))


def search_of(means, judged, reconstructed=None, draws=2, keep=1, raw=None):
    search = params.Search(seed_source="train", noise=SHIFT, draws=draws, keep=keep)
    generator = np.random.default_rng(0)
    seeds = seeds_at(means, reconstructed)
    seeds = seeds if raw is None else replace(seeds, raw_prediction=np.array(raw))
    return search_row(annotators(), seeds, search, judged, KEY, generator, "test")


def test_a_search_counts_its_mistakes_by_cause():
    # As below, one seed whose plain reconstruction alone is wrong already, and one that is wrong raw.
    row = search_of([-0.9, -0.4, -0.3, -0.1, -0.05, -0.4, -0.4], 100, [0, 0, 0, 0, 0, 1, 1], raw=[0, 0, 0, 0, 0, 0, 1])
    assert (row["seed_images"], row["draws"], row["mistakes"], row["judged"]) == (7, 14, 6, 6)
    assert row["wrong_draws"] == pytest.approx(12 / 14) and row["seeds_with_mistake"] == pytest.approx(6 / 7)
    causes = [cause.replace(" ", "_") for cause in Cause]
    assert [row[cause] for cause in causes] == pytest.approx([1 / 6] * 6)
    assert row["recognisable"] == pytest.approx(5 / 6) and row["label_kept"] == pytest.approx(0.6)
    assert row["draws_per_classifier_mistake"] == pytest.approx(14)


def test_only_as_many_mistakes_as_asked_are_judged():
    row = search_of([-0.4] * 20, 6, keep=2)
    assert (row["mistakes"], row["judged"]) == (40, 6)
    assert row["classifier_mistake"] == 1 and row["draws_per_classifier_mistake"] == pytest.approx(1)


def test_a_search_that_finds_nothing_measures_nothing():
    row = search_of([-0.9, -0.8], 5)
    assert (row["mistakes"], row["judged"], row["wrong_draws"], row["seeds_with_mistake"]) == (0, 0, 0, 0)
    assert np.isnan([row["classifier_mistake"], row["label_kept"]]).all()
    assert row["draws_per_classifier_mistake"] == np.inf  # draws were spent, and no number of them was enough


def test_reconstructions_are_counted_among_images_that_the_classifier_gets_right():
    class Lossy(Pixel):
        """Loses what is brighter than 0.5."""

        def encode(self, images):
            codes = self.gain * images[:, 0, 0]
            codes = codes * (codes < 0.5)
            return codes, torch.zeros_like(codes)

    images = torch.tensor([0.2, 0.7, 0.8, 0.9])[:, None, None, None]
    # Raw the classifier says 1; the second label is wrong for it. Of the other three, one survives.
    subject = Subject(Steps(0.0), Lossy(), MACHINE)
    assert reconstructed_accuracy(subject, images, torch.tensor([1, 0, 1, 1])) == pytest.approx(1 / 3)
    assert np.isnan(reconstructed_accuracy(subject, images[:1], torch.tensor([0])))


@pytest.mark.parametrize("draws", [1, 2])
def test_each_draw_counts_by_what_the_oracles_say(draws):
    # Shifted by 0.5, the oracles say: the seed's class, the seed's class, the classifier's, a third, nothing.
    row = row_of([-0.9, -0.4, -0.3, -0.1, -0.05], draws)
    assert row["draws"] == 5 * draws and row["noise_norm"] == pytest.approx(0.5, abs=1e-3)
    assert row["wrong"] == pytest.approx(0.8) and row["wrong_low"] < 0.8 < row["wrong_high"]
    shares = ("classifier_mistake", "label_changed", "third_label", "not_recognisable")
    assert [row[name] for name in shares] == [0.25] * 4
    assert row["recognisable"] == pytest.approx(0.8) and row["label_kept"] == 0.5
    assert row["seeds_with_classifier_mistake"] == pytest.approx(0.2)


def test_without_a_wrong_draw_their_shares_are_not_a_number():
    row = row_of([-0.9, -0.8], 3)
    assert row["wrong"] == 0 and row["label_kept"] == 1
    assert np.isnan([row["classifier_mistake"], row["third_label"], row["not_recognisable"]]).all()


def test_the_noises_compared_hold_the_search_s_own():
    noises = {"beta_raw": params.Noise({"beta": 50.0}), "normal_0.2": params.Noise({"normal": 0.2})}
    assert compared_noises(noises, params.Noise({"normal": 0.2})) == noises
    own = params.Noise({"normal": 0.15})
    assert compared_noises(noises, own) == {**noises, "search": own}
    assert compared_noises(noises, params.Noise({"posterior": 0.2})).keys() == {*noises, "search"}


def test_the_stage_compares_the_search_s_noise_where_the_params_name_another(tmp_path, shipped_tree, monkeypatch):
    noises = {"small": {"normal": 0.01}}
    changes = {"ablate_noise": {"noises": noises}, "identify": {"noise": {"normal": 5.0}}}
    monkeypatch.chdir(tmp_path)
    tiny_cell.write_project(tmp_path, tiny_cell.small_params(shipped_tree, **changes))
    training = ("train_classifier", "train_features", "train_vae", "train_oracle", "calibrate_oracle")
    for stage in (*training, "ablate_noise"):
        tiny_cell.run_stage(stage)
    table = read_table(tmp_path / "artifacts/ablate_noise/digits/0/noise.csv").set_index("noise")
    assert table.index.tolist() == ["small", "search"]
    assert table.noise_norm["search"] == pytest.approx(500 * table.noise_norm["small"], rel=1e-3)
