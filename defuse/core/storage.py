"""Reading and writing: atomic, free of pickles, the same bytes for the same content."""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from defuse.core.errors import MissingFileError, StorageError

if TYPE_CHECKING:
    import pandas

# Columns of all tables that hold words: guessed from its values, an arm named 01 or NA would come back as a number.
TEXT_COLUMNS = frozenset(
    (
        *("noise", "search", "vae", "arm", "reading", "prior", "architecture", "likelihood"),
        *("cause", "verdict", "stage", "measure"),
        *("bug", "property", "side", "kind"),
        *("claim", "statement", "source", "data", "rule", "paper_value", "values", "holds", "file"),
        *("sheet", "oracles", "by_eye"),
        *("seed_class", "taken_for"),
        "dataset",
    )
)


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


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, its lines ended alike on each system."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with sorted keys; NaN is written as null, since JSON has no NaN."""

    def plain(value: object) -> object:
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


def write_table(path: Path, table: "pandas.DataFrame") -> None:
    """Write a tidy table as CSV, without the index, floats to eight significant digits."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.8g", lineterminator="\n", encoding="utf-8")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of plain numbers and names, at least one, as `write_table` writes them, without loading pandas.

    Raises:
        ValueError: rows whose columns differ.
    """

    def text(value: object) -> object:
        if isinstance(value, float):
            return "" if np.isnan(value) else f"{value:.8g}"
        return "" if value is None else value

    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            if list(row) != writer.fieldnames:
                raise ValueError(f"columns {', '.join(row)}; allowed: {', '.join(writer.fieldnames)}")
            writer.writerow({name: text(value) for name, value in row.items()})


def read_table(path: Path, *columns: str) -> "pandas.DataFrame":
    """Read a CSV table that has at least the named columns.

    What stands in TEXT_COLUMNS comes back as it was written. Only an empty cell is missing.

    Raises:
        StorageError: the file is missing, cannot be read, is no table, or lacks a column.
    """
    import pandas

    try:
        table = pandas.read_csv(
            path, encoding="utf-8", dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False, na_values=[""]
        )
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"{path}: no readable table ({str(error).strip()})") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise StorageError(f"{path}: columns missing: {', '.join(missing)}; it has {', '.join(table)}")
    return table
