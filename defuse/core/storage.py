"""Reading and writing: atomic, free of pickles, the same bytes for the same content."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from defuse.core.errors import MissingFileError, StorageError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Temporary path beside `path`; renamed to it when the block ends well, removed when it raises.

    Raises:
        StorageError: the disk is full, the folder is read-only, or the like; an older file stays as it was.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` whose process is gone: it was killed."""
    for leftover in path.parent.glob(f".{path.stem}.*{path.suffix}"):
        process = leftover.name.removeprefix(f".{path.stem}.").removesuffix(path.suffix)
        if process.isdigit() and not psutil.pid_exists(int(process)):
            leftover.unlink(missing_ok=True)


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as a compressed `.npz`."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def load_arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Read the named arrays of an `.npz`, or all of them; nothing is ever unpickled.

    Raises:
        StorageError: the file is missing, truncated, holds Python objects, or lacks a name.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise StorageError(f"{path}: arrays missing: {', '.join(missing)}; it holds {', '.join(file.files)}")
            return {name: file[name] for name in names or file.files}
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file") from None
    except (StorageError, MemoryError):
        raise
    except Exception as error:
        # NumPy's own words would tell how to load a pickle all the same.
        reason = "it holds pickled Python objects, which are never loaded" if "pickle" in str(error) else error
        raise StorageError(f"{path}: not a readable .npz of plain arrays ({reason})") from error


def load_rows(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Read the named arrays of an `.npz`, or all of them: one row of each belongs together.

    Raises:
        StorageError: as `load_arrays`; the arrays differ in length, or hold NaN or infinity.
    """
    arrays = load_arrays(path, *names)
    if len({array.shape[:1] for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise StorageError(f"{path}: its arrays differ in length: {shapes}")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise StorageError(f"{path}: {name} holds NaN or infinity; allowed: finite numbers")
    return arrays


def save_weights(
    path: Path, weights: dict[str, Tensor], network: dict[str, Any], machine: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors, with a description (of the network, or of a training's state) in the header.

    Args:
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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with sorted keys; NaN is written as null, since JSON has no NaN."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float):
            return float(f"{value:.8g}") if np.isfinite(value) else None
        return value

    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(content), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        StorageError: the file is missing, cannot be read, or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"{path}: no readable JSON ({error})") from error
    if not isinstance(content, dict):
        raise StorageError(f"{path}: no readable JSON (it holds {content!r:.40}; allowed: an object with keys)")
    return content


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a tidy table as CSV, without the index, floats to eight significant digits."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.8g", lineterminator="\n", encoding="utf-8")


def read_table(path: Path, *columns: str) -> pd.DataFrame:
    """Read a CSV table that has at least the named columns.

    Raises:
        StorageError: the file is missing, cannot be read, is no table, or lacks a column.
    """
    try:
        table = pd.read_csv(path, encoding="utf-8")
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"{path}: no readable table ({error})") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise StorageError(f"{path}: columns missing: {', '.join(missing)}; it has {', '.join(table)}")
    return table
