"""Oracles: votes, abstentions, thresholds, blends."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from defuse.annotators.oracles import blends, calibrate_threshold, cast_votes, confidence
from defuse.method.annotation import ABSTAIN, consensus


class Sure(nn.Module):
    """An oracle as sure as the image is bright: class `label` with softmax probability max(pixel, 1 - pixel)."""

    def __init__(self, label=1):
        super().__init__()
        self.order = nn.Parameter(torch.tensor([1 - label, label]), requires_grad=False)

    def forward(self, images):
        share = images[:, 0, 0, 0].clamp(1e-6, 1 - 1e-6)
        return torch.log(torch.stack([1 - share, share], 1))[:, self.order]


def bright(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 4, 4)


def test_confidence_is_the_highest_probability():
    labels, certainty = confidence(torch.tensor([[0.0, np.log(3.0)], [5.0, 5.0], [200.0, -200.0]]))
    assert labels.tolist() == [1, 0, 0] and labels.dtype == np.int64
    assert certainty.tolist() == pytest.approx([0.75, 0.5, 1.0])


@pytest.mark.parametrize(
    ("votes", "least", "label"),
    [
        ([1, 1, 2], 0.6, 1),
        ([1, 1, 2], 0.7, ABSTAIN),
        ([2, 2, 2, 2, 0], 0.8, 2),
        ([2, 2, 2, 2, -1], 0.8, 2),
        ([2, 2, 2, 0, 0], 0.8, ABSTAIN),
        ([2, 2, 2, 2, 0], 1.0, ABSTAIN),
        ([0, 0, 0, 0, 0], 1.0, 0),
        ([1, 1, 2, 2], 0.51, ABSTAIN),
        ([1, 1, 1, -1, -1], 0.51, 1),
        ([1, 1, 2, -1, -1], 0.51, ABSTAIN),
        ([7] * 11 + [3] * 9, 0.55, 7),  # 0.55 * 20 is more than 11 in floating point
        ([-1, -1, -1], 0.6, ABSTAIN),
        ([4], 1.0, 4),
    ],
)
def test_consensus_by_hand(votes, least, label):
    assert consensus(np.array([votes]), least).tolist() == [label]


def test_consensus_of_several_images_and_of_none():
    assert consensus(np.array([[1, 1, 2], [2, 0, 0], [0, 1, 2]]), 0.6).tolist() == [1, 0, ABSTAIN]
    assert consensus(np.zeros((0, 5), np.int64), 0.8).shape == (0,)


@given(
    arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.integers(-1, 3)),
    st.sampled_from([0.51, 0.6, 0.75, 0.8, 1.0]),
)
def test_consensus_agrees_with_counting(votes, least):
    expected = []
    for row in votes.tolist():
        label, count = Counter(row).most_common(1)[0]
        expected.append(label if Fraction(count, len(row)) >= Fraction(str(least)) else ABSTAIN)
    assert consensus(votes, least).tolist() == expected


def test_votes_abstain_below_the_threshold_and_only_there():
    images = bright(0.1, 0.4, 0.5, 0.79, 0.81, 0.99)
    votes = cast_votes([Sure(), Sure(), Sure(0), Sure()], [0.0, 0.8, 0.8, 1.1], images)
    assert votes.dtype == np.int64 and votes.shape == (6, 4)
    assert votes[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert votes[:, 1].tolist() == [0, -1, -1, -1, 1, 1]
    assert votes[:, 2].tolist() == [1, -1, -1, -1, 0, 0]
    assert votes[:, 3].tolist() == [-1] * 6


def test_confidence_equal_to_the_threshold_is_enough():
    reached = confidence(Sure()(bright(0.875)))[1][0]
    thresholds = [float(reached), float(np.nextafter(reached, np.float32(2)))]
    assert cast_votes([Sure()] * 2, thresholds, bright(0.875)).tolist() == [[1, ABSTAIN]]


def test_no_image_gets_no_vote():
    assert cast_votes([Sure()] * 3, [0.5] * 3, bright()).shape == (0, 3)


@pytest.mark.parametrize("recognised", [0.5, 0.9, 0.98])
def test_threshold_lets_its_share_of_the_images_pass(recognised):
    images = bright(*np.random.default_rng(0).random(500))
    threshold = calibrate_threshold(Sure()(images), recognised)
    assert (cast_votes([Sure()], [threshold], images) != ABSTAIN).mean() == pytest.approx(recognised, abs=1 / 500)
    shares = images[:, 0, 0, 0].numpy()
    assert threshold == pytest.approx(np.quantile(np.maximum(shares, 1 - shares), 1 - recognised), abs=1e-5)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=24), st.integers(0, 2**31))
def test_blends_are_the_mean_of_two_images_of_different_classes(labels, seed):
    # An image holds 1 at the position of its own number: a blend shows its two sources as halves.
    images = torch.eye(len(labels))[:, None, None, :]
    blended = blends(images, torch.tensor(labels), torch.Generator().manual_seed(seed))
    for row in blended[:, 0, 0]:
        sources = row.nonzero().flatten().tolist()
        assert row[sources].tolist() == [0.5, 0.5]
        assert labels[sources[0]] != labels[sources[1]]
    assert len(blended) <= len(labels)


def test_most_images_are_blended_where_classes_are_many_and_none_where_there_is_one():
    images, labels = bright(*np.linspace(0, 1, 60)), torch.arange(60) % 10
    blended = blends(images, labels, torch.Generator().manual_seed(0))
    assert 40 < len(blended) <= 60 and blended.shape[1:] == images.shape[1:]
    assert torch.equal(blends(images, labels, torch.Generator().manual_seed(0)), blended)
    assert len(blends(images, torch.zeros(60, dtype=torch.int64), torch.Generator().manual_seed(0))) == 0
