"""What one noise does, on a case computed by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from defuse import params
from defuse.ablation import noise_row
from defuse.identification import Seeds

# Beta(1e10, 1e10) is 0.5 up to a few millionths: every draw shifts the code by the same.
SHIFT = params.Noise(distribution="beta", concentration=1e10, centred=False, scale=None)
KEY = np.array([1, 2], np.uint64)


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
    count, zeros = len(means), np.zeros(len(means), np.int64)
    codes = np.array(means, np.float32)[:, None]
    seeds = Seeds(np.arange(count), zeros, codes, np.ones_like(codes), zeros, zeros)
    oracles = [Steps(0.15, 0.3, unsure=0.42)] * 3
    return noise_row(Pixel(), Steps(0.0), oracles, [0.5] * 3, seeds, SHIFT, draws, KEY)


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
