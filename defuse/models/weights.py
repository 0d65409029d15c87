"""Tensors as files: safetensors, which cannot run code, with a description in the header."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from defuse.core.errors import MissingFileError, StorageError
from defuse.core.storage import atomic_path


def save_weights(
    path: Path, weights: dict[str, Tensor], network: dict[str, Any], machine: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors, with a description (of the network, or of a training's state) in the header.

    Args:
        path: of the file, `.safetensors`.
        weights: by name.
        network: the description.
        machine: what the weights were computed on (`Machine.description`), for the header too.

    Raises:
        StorageError: the file cannot be written; an older one stays as it was.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    # One entry: safetensors writes several in no order, so that the same weights would have other bytes each time.
    if machine is None:
        header = {"network": json.dumps(network, sort_keys=True)}
    else:
        header = {"network and machine": json.dumps([network, machine], sort_keys=True)}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=header)
        except SafetensorError as error:  # it wraps the system's own error
            raise StorageError(f"{path}: cannot be written: {error}") from error


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and the network's description, as `save_weights` wrote them.

    Raises:
        StorageError: the file is missing, damaged, or was not written by `save_weights`.
    """
    with opened_weights(path) as (file, network, _):
        return {name: file.get_tensor(name) for name in file.keys()}, network  # noqa: SIM118


def weights_machine(path: Path) -> dict[str, str] | None:
    """What the weights of a file were computed on, by its header; None where that was not recorded.

    Raises:
        StorageError: as `load_weights`.
    """
    with opened_weights(path) as (_, _, machine):
        return machine


@contextmanager
def opened_weights(path: Path) -> Iterator[tuple[Any, dict[str, Any], dict[str, str] | None]]:
    """A safetensors file with what its header says of network and machine.

    Raises:
        StorageError: as `load_weights`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if "network and machine" in header:
                network, machine = json.loads(header["network and machine"])
            else:
                network, machine = json.loads(header["network"]), None
            yield file, network, machine
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, KeyError, ValueError) as error:
        raise StorageError(f"{path}: not a safetensors file of this package ({error})") from error
