"""Random streams: distinct, reproducible, independent of order, and no trace in global state."""

import itertools
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defuse.core.random_streams import Streams, item_generator

NAMES = st.lists(st.text("abcdefghijklmnopqrstuvwxyz_ 0123456789", min_size=1, max_size=4), max_size=4).map(tuple)
SEEDS = st.integers(0, 2**32 - 1)
KEY = Streams(0, ("identify", "mnist")).key("noise")


def draws_of(seed, names):
    """The first draws of each kind of stream that `seed` and `names` stand for."""
    streams = Streams(seed, names)
    with streams.seeding_torch():
        weights = torch.rand(4).tolist()
    return (
        weights,
        streams.sequence().generate_state(4, np.uint64).tolist(),
        streams.key().tolist(),
        streams.numpy().random(4).tolist(),
        torch.rand(4, generator=streams.torch()).tolist(),
        streams.integer(),
    )


@given(SEEDS, NAMES)
def test_same_names_give_the_same_stream(seed, names):
    assert draws_of(seed, names) == draws_of(seed, names)


@given(SEEDS, NAMES, SEEDS, NAMES)
def test_other_seed_or_names_give_another_stream(seed, names, other_seed, other_names):
    if (seed, names) == (other_seed, other_names):
        other_seed += 1
    for mine, other in zip(draws_of(seed, names), draws_of(other_seed, other_names)):
        assert mine != other


def test_streams_of_all_cells_differ():
    stages = ("train_classifier", "train_vae", "train_oracle", "identify", "distill", "annotate", "correct")
    purposes = ("weights", "batches", "noise", "mixture", "shown", "correction", "validation", "test", "seed images")
    cells = list(itertools.product(range(5), stages, ("digits", "mnist", "svhn", "gtsrb"), purposes))
    assert len({tuple(Streams(seed, tuple(names)).key()) for seed, *names in cells}) == len(cells)
    # 1,260 draws of 32 bits: a collision has a probability of 0.02 %, and the names are fixed.
    assert len({Streams(seed, tuple(names)).integer() for seed, *names in cells}) == len(cells)


def test_names_of_parts_and_purposes_follow_those_of_the_stage():
    streams, parts = Streams(5, ("plant_bugs", "mnist")), ("bright_4", "0.5", "noise")
    assert streams.within(*parts[:1]).within(*parts[1:2]) == Streams(5, ("plant_bugs", "mnist", *parts[:2]))
    ways = (streams.key(*parts), streams.within(*parts).key(), Streams(5).key("plant_bugs", "mnist", *parts))
    assert len({tuple(key) for key in ways}) == 1


def test_streams_are_those_that_the_recorded_results_were_drawn_from():
    streams = Streams(5, ("identify", "digits"))
    entropy = [5, *(zlib.crc32(name.encode()) for name in ("identify", "digits", "noise"))]
    expected = np.random.SeedSequence(entropy)
    assert streams.key("noise").tolist() == expected.generate_state(2, np.uint64).tolist()
    assert streams.integer("noise") == expected.generate_state(1, np.uint32)[0]
    assert streams.numpy("noise").random() == np.random.default_rng(expected).random()


def test_order_of_names_matters():
    assert Streams(0).integer("train_vae", "mnist") != Streams(0).integer("mnist", "train_vae")


@given(st.permutations(range(8)))
def test_item_draws_do_not_depend_on_the_order_of_items(order):
    alone = [item_generator(KEY, index).standard_normal(5).tolist() for index in range(8)]
    assert {index: item_generator(KEY, index).standard_normal(5).tolist() for index in order} == dict(enumerate(alone))


def test_items_do_not_share_draws():
    draws = np.concatenate([item_generator(KEY, index).random(500) for index in range(40)])
    assert len(np.unique(draws)) == draws.size


def test_item_draws_depend_on_the_key():
    other = Streams(1, ("identify", "mnist")).key("noise")
    assert item_generator(KEY, 3).random() != item_generator(other, 3).random()


def test_items_are_uncorrelated():
    draws = np.stack([item_generator(KEY, index).standard_normal(4000) for index in range(6)])
    assert np.abs(np.corrcoef(draws) - np.eye(6)).max() < 0.08


def test_seeding_torch_gives_the_same_draws_and_restores_the_global_state():
    before = torch.get_rng_state()
    with Streams(3).seeding_torch("a"):
        first = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    with Streams(3).seeding_torch("a"):
        assert torch.equal(torch.rand(4), first)
    with Streams(4).seeding_torch("a"):
        assert not torch.equal(torch.rand(4), first)


def test_seeding_torch_restores_the_global_state_after_an_error():
    before = torch.get_rng_state()

    def fail():
        with Streams(3).seeding_torch("a"):
            torch.rand(4)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert torch.equal(torch.get_rng_state(), before)
