"""Networks as files: safetensors with the arguments that built them."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from defuse.core.errors import StorageError
from defuse.models.machine import Machine
from defuse.models.weights import load_weights, save_weights

Network = TypeVar("Network", bound=nn.Module)


def save_network(path: Path, network: nn.Module, machine: Machine | None = None, /, **description: object) -> None:
    """Write a network with the arguments that built it (`build_classifier`'s or `VAE`'s), and what trained it.

    Args:
        path: the file, which is replaced.
        network: its weights are written as float32.
        machine: where it was trained; None where that does not matter.
        description: the arguments of `build_classifier` or `VAE`.

    Raises:
        StorageError: as `save_weights`.
    """
    save_weights(path, network.state_dict(), description, None if machine is None else machine.description)


def misfit(network: nn.Module, weights: dict[str, Tensor]) -> str | None:
    """The first thing by which `weights` are not this network's, or no numbers; None where they are."""
    expected = network.state_dict()
    for name in [*expected, *weights]:
        if name not in weights or name not in expected:
            return f"{name} is {'missing' if name in expected else 'unknown'}"
        held, needed = weights[name], expected[name]
        if (held.shape, held.dtype) != (needed.shape, needed.dtype):
            return f"{name} is {held.dtype} {tuple(held.shape)}; allowed: {needed.dtype} {tuple(needed.shape)}"
        if not held.isfinite().all():
            return f"{name} holds NaN or infinity; allowed: finite numbers"
    return None


def load_network(path: Path, build: Callable[..., Network], **expected: object) -> Network:
    """Rebuild a network with `build` (`build_classifier` or `VAE`), on the CPU, in evaluation mode.

    Args:
        path: written by `save_network`.
        build: what makes a network of the file's arguments.
        expected: arguments of `build` that the file's network must have, for example `channels=1`.

    Raises:
        StorageError: missing or damaged file, weights that do not fit the network or are not finite, or another
            network than expected.
    """
    weights, description = load_weights(path)
    try:
        with torch.random.fork_rng():  # the initial weights are replaced, their draws must leave no trace
            network = build(**description)
    except (TypeError, ValueError, RuntimeError) as error:
        raise StorageError(f"{path}: weights of another network ({error})") from error
    for name, value in expected.items():
        if description[name] != value:
            raise StorageError(f"{path}: weights of another network ({name} is {description[name]}; allowed: {value})")
    problem = misfit(network, weights)
    if problem:
        raise StorageError(f"{path}: weights of another network ({problem})")
    network.load_state_dict(weights)
    return network.eval()
