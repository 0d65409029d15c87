"""Random streams: distinct, reproducible, independent of order, and no trace in global state."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defuse.core.random_streams import (
    integer_seed,
    item_generator,
    numpy_generator,
    seed_sequence,
    seeded_torch,
    torch_generator,
)

NAMES = st.lists(st.text("abcdefghijklmnopqrstuvwxyz_ 0123456789", min_size=1, max_size=4), max_size=4).map(tuple)
SEEDS = st.integers(0, 2**32 - 1)
KEY = seed_sequence(0, "identify", "mnist", "noise").generate_state(2, np.uint64)


def draws_of(seed, names):
    """The first draws of each kind of stream that `seed` and `names` stand for."""
    return (
        seed_sequence(seed, *names).generate_state(4, np.uint64).tolist(),
        numpy_generator(seed, *names).random(4).tolist(),
        torch.rand(4, generator=torch_generator(seed, *names)).tolist(),
        integer_seed(seed, *names),
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
    assert len({tuple(seed_sequence(*cell).generate_state(2, np.uint64)) for cell in cells}) == len(cells)
    # 1,260 draws of 32 bits: a collision has a probability of 0.02 %, and the names are fixed.
    assert len({integer_seed(*cell) for cell in cells}) == len(cells)


def test_order_of_names_matters():
    assert integer_seed(0, "train_vae", "mnist") != integer_seed(0, "mnist", "train_vae")


@given(st.permutations(range(8)))
def test_item_draws_do_not_depend_on_the_order_of_items(order):
    alone = [item_generator(KEY, index).standard_normal(5).tolist() for index in range(8)]
    assert {index: item_generator(KEY, index).standard_normal(5).tolist() for index in order} == dict(enumerate(alone))


def test_items_do_not_share_draws():
    draws = np.concatenate([item_generator(KEY, index).random(500) for index in range(40)])
    assert len(np.unique(draws)) == draws.size


def test_item_draws_depend_on_the_key():
    other = seed_sequence(1, "identify", "mnist", "noise").generate_state(2, np.uint64)
    assert item_generator(KEY, 3).random() != item_generator(other, 3).random()


def test_items_are_uncorrelated():
    draws = np.stack([item_generator(KEY, index).standard_normal(4000) for index in range(6)])
    assert np.abs(np.corrcoef(draws) - np.eye(6)).max() < 0.08


def test_seeded_torch_gives_the_same_draws_and_restores_the_global_state():
    before = torch.get_rng_state()
    with seeded_torch(3, "a"):
        first = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded_torch(3, "a"):
        assert torch.equal(torch.rand(4), first)
    with seeded_torch(4, "a"):
        assert not torch.equal(torch.rand(4), first)


def test_seeded_torch_restores_the_global_state_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="inside"), seeded_torch(3, "a"):
        torch.rand(4)
        raise ValueError("inside")
    assert torch.equal(torch.get_rng_state(), before)
