"""The data behind the figures: what belongs to one mistake or region stays together."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from defuse.core import params
from defuse.data.pixels import to_bytes
from defuse.showing.figure_data import (
    identified_data,
    interpolation_data,
    member_data,
    novelty_data,
    region_data,
    regions_to_show,
    tsne_data,
)


class Grey(nn.Module):
    """A VAE without any network: an image is grey, its two pixels are its code."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def encode(self, images):
        codes = self.gain * images[:, 0, 0]
        return codes, torch.zeros_like(codes)

    def decode(self, codes):
        return self.gain * codes[:, None, None, :]


SHOWN = params.Summarize(
    tsne_codes=10,
    tsne_perplexity=3.0,
    shown_regions=1,
    shown_members=1,
    shown_neighbours=1,
    shown_mistakes=1,
    shown_pairs=1,
    interpolation_steps=2,
)
IMAGES = torch.arange(20).repeat_interleave(2).reshape(20, 1, 1, 2) / 255  # image i has grey i


def mistakes_of(count: int) -> dict[str, np.ndarray]:
    """Mistake i has label i, prediction i + 100 and the grey i + 100; its seed image is the last but i."""
    numbers = np.arange(count)
    return {
        "seed_index": 19 - numbers,
        "label": numbers,
        "prediction": numbers + 100,
        "codes": np.repeat((numbers[:, None] + 100) / 255, 2, axis=1).astype(np.float32),
        "reconstruction_failure": numbers % 2 == 1,
    }


def test_bytes_are_rounded_and_channels_come_last():
    images = torch.tensor([0.0, 0.499 / 255, 0.501 / 255, 1.0]).reshape(1, 1, 2, 2)
    assert to_bytes(images)[..., 0].tolist() == [[[0, 0], [1, 255]]]
    assert to_bytes(torch.zeros((5, 3, 8, 4))).shape == (5, 8, 4, 3)


@pytest.mark.parametrize("count", [3, 99])
def test_an_identified_mistake_is_shown_with_its_own_seed_labels_and_cause(count):
    drawn = np.array([1, 4, 5, 8, 9])
    votes = {"drawn": drawn, "cause": np.array([f"cause of {number}" for number in drawn])}
    data = identified_data(mistakes_of(12), votes, IMAGES, Grey(), count, np.random.default_rng(0))
    label = data["label"]
    assert len(set(label)) == min(count, 5) and set(label) <= set(drawn)
    assert (data["prediction"] == label + 100).all()
    assert data["cause"].tolist() == [f"cause of {number}" for number in label]
    for name, grey in (("seed_images", 19 - label), ("reconstructions", 19 - label), ("mistakes", label + 100)):
        assert data[name].shape == (len(label), 1, 2, 1) and (data[name] == grey[:, None, None, None]).all()


def regions_of(verdicts, agreement=0.8, failure_rate=1.0):
    facts = {"agreement": agreement, "failure_rate": failure_rate, "share_of_mistakes": [0.5, 0.1, 0.3]}
    return pd.DataFrame({"region": [0, 1, 2], "verdict": verdicts, **facts})


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        (regions_of(["accepted"] * 3, failure_rate=[0.6, 0.9, 0.6]), [1, 0, 2]),  # the least of them is the clearest
        (regions_of(["accepted"] * 3, agreement=[0.5, 1.0, 0.9], failure_rate=[1.0, 0.4, 0.6]), [2, 0, 1]),
        (regions_of(["false alarm", "accepted", "accepted"], failure_rate=[1.0, 0.9, 0.8]), [1, 2, 0]),
        (regions_of(["accepted", "accepted", "accepted"], failure_rate=[np.nan, 0.1, np.nan]), [1, 0, 2]),
        (regions_of(["accepted"] * 3), [0, 2, 1]),  # equals by their share of the mistakes
        (regions_of(["no agreement"] * 3, agreement=0.0), [0, 2, 1]),
    ],
)
def test_the_clearest_bug_is_shown_before_all_others_however_few_are_shown(regions, expected):
    for count in (1, 2, 3):
        assert regions_to_show(regions, count).tolist() == expected[:count]


def test_accepted_regions_are_shown_first_with_their_own_samples():
    regions = regions_of(["false alarm", "accepted", "accepted"])
    samples = np.repeat(np.arange(6).reshape(3, 2, 1) / 255, 2, axis=2).astype(np.float32)
    votes = {"shown_predictions": np.array([[0, 0], [1, 1], [2, 2]]), "shown": np.arange(30).reshape(3, 2, 5)}
    data = region_data(regions, samples, votes, np.array([[5, 5], [6, 6], [7, 7]]), Grey(), 2)
    assert data["region"].tolist() == [2, 1]
    assert data["images"].shape == (2, 2, 1, 2, 1) and data["images"][:, :, 0, 0, 0].tolist() == [[4, 5], [2, 3]]
    assert data["prediction"].tolist() == [[2, 2], [1, 1]] and data["prediction_after"].tolist() == [[7, 7], [6, 6]]
    assert (data["votes"] == np.arange(30).reshape(3, 2, 5)[[2, 1]]).all()


def test_a_region_is_shown_with_mistakes_of_its_own_beside_their_seed_images():
    regions = regions_of(["false alarm", "accepted", "accepted"])
    members = {"mistake": np.array([0, 2, 4, 6, 8, 10]), "assignment": np.array([2, 1, 0, 2, -1, 2])}
    settings = SHOWN.model_copy(update={"shown_regions": 2, "shown_members": 2})
    data = member_data(regions, members, mistakes_of(12), IMAGES, Grey(), settings, np.random.default_rng(0))
    assert data["region"].tolist() == [2, 2, 1]
    assert set(data["label"][:2]) < {0, 6, 10} and data["label"][2] == 2
    for name, grey in (("seed_images", 19 - data["label"]), ("mistakes", data["label"] + 100)):
        assert (data[name] == grey[:, None, None, None]).all()
    assert (data["prediction"] == data["label"] + 100).all()


def test_each_shown_region_has_its_first_failing_samples_beside_the_training_mistakes_nearest_to_them():
    regions = regions_of(["accepted"] * 3).assign(region=[3, 5, 7])
    count = 9
    neighbours = {
        "region": np.repeat([3, 5, 7], 3),
        "samples": np.arange(count),
        "label": np.arange(count) + 100,
        "prediction": np.arange(count) + 200,
        **{
            name: 10 * np.arange(count)[:, None] + np.arange(4)
            for name in ("distance", "neighbour", "neighbour_label", "neighbour_prediction")
        },
    }
    settings = SHOWN.model_copy(update={"shown_regions": 2, "shown_members": 2, "shown_neighbours": 3})
    data = novelty_data(neighbours, regions, settings)
    assert data["region"].tolist() == [3, 3, 7, 7] and data["samples"].tolist() == [0, 1, 6, 7]
    assert (data["label"] - 100).tolist() == (data["prediction"] - 200).tolist() == [0, 1, 6, 7]
    for name in ("distance", "neighbour", "neighbour_label", "neighbour_prediction"):
        assert data[name].tolist() == [[0, 1, 2], [10, 11, 12], [60, 61, 62], [70, 71, 72]]
    nothing = {name: values[:0, :0] if values.ndim > 1 else values[:0] for name, values in neighbours.items()}
    assert all(len(values) == 0 for values in novelty_data(nothing, regions, settings).values())


def test_a_line_through_latent_space_starts_and_ends_at_two_images_of_different_classes():
    class Brightest(nn.Module):
        def __init__(self):
            super().__init__()
            self.bound = nn.Parameter(torch.tensor(9.5 / 255))

        def forward(self, images):
            return torch.stack([self.bound - images[:, 0, 0, 0], images[:, 0, 0, 0] - self.bound], 1)

    settings = SHOWN.model_copy(update={"shown_pairs": 3, "interpolation_steps": 3})
    labels = (torch.arange(20) > 9).long()
    data = interpolation_data(IMAGES, labels, Grey(), Brightest(), settings, np.random.default_rng(0))
    assert data["ends"].shape == (3, 2, 1, 2, 1) and data["images"].shape == (3, 3, 1, 2, 1)
    assert (data["end_label"][:, 0] != data["end_label"][:, 1]).all()
    ends, line = data["ends"][:, :, 0, 0, 0].astype(int), data["images"][:, :, 0, 0, 0].astype(int)
    assert (line[:, [0, 2]] == ends).all() and (abs(line[:, 1] - ends.mean(1)) <= 0.5).all()
    assert (data["prediction"][:, [0, 2]] == data["end_label"]).all()


@pytest.mark.parametrize(("mistakes", "shown"), [(12, 3), (4, 2), (0, 0)])
def test_the_latent_space_shows_training_codes_and_what_the_noise_made_wrong(mistakes, shown):
    data = tsne_data(mistakes_of(mistakes), IMAGES, torch.arange(20), Grey(), SHOWN, 0)
    assert data["training"].shape == (10, 2) and data["mistakes"].shape == (mistakes // 2, 2)
    assert len(set(data["training_label"].tolist())) == 10
    assert data["shown"].tolist() == list(range(shown)) and data["images"].shape == (shown, 1, 2, 1)
    label = data["label"]
    assert (label % 2 == 0).all()  # a wrong reconstruction is no mistake of the noise's
    assert (data["images"][:, 0, 0, 0] == label + 100).all() and (data["prediction"] == label + 100).all()
