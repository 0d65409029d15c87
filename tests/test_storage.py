"""Files: atomic, free of pickles, the same bytes for the same content."""

import errno
import json
import math
import os
import pickle
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Trap
from hypothesis import given, settings
from hypothesis import strategies as st

from defuse.core.errors import StorageError
from defuse.core.storage import (
    TEXT_COLUMNS,
    atomic_path,
    load_arrays,
    read_json,
    read_table,
    save_arrays,
    write_json,
    write_rows,
    write_table,
    write_text,
)
from defuse.models.weights import load_weights, save_weights

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int64)}
WRITERS = {
    "data.npz": lambda path, shift: save_arrays(path, x=np.arange(9.0) + shift, y=np.array(["a", "b"])),
    "data.json": lambda path, shift: write_json(path, {"b": [1, 2.5 + shift], "a": {"z": None, "y": True}}),
    "data.csv": lambda path, shift: write_table(path, pd.DataFrame({"n": [1, 2], "x": [0.1 + shift, np.nan]})),
    "page.html": lambda path, shift: write_text(path, f"<p>«{shift}»\n</p>\n"),
    "rows.csv": lambda path, shift: write_rows(path, [{"n": 1, "x": 0.1 + shift}, {"n": 2, "x": math.nan}]),
    "data.safetensors": lambda path, shift: save_weights(path, {**WEIGHTS, "c": torch.zeros(1) + shift}, {"w": 3}),
}


def test_atomic_path_writes_into_a_new_folder(tmp_path):
    path = tmp_path / "new" / "deeper" / "data.txt"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == path.suffix
        temporary.write_text("whole", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_failure_leaves_the_old_file_whole_and_no_temporary_file(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("old", encoding="utf-8")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("ne", encoding="utf-8")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_half()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_same_content_gives_the_same_bytes(tmp_path, name):
    first, second, other = (tmp_path / folder / name for folder in "abc")
    for path, shift in ((first, 0), (second, 0), (other, 1)):
        WRITERS[name](path, shift)
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()
    WRITERS[name](other, 0)  # over an older file
    assert other.read_bytes() == first.read_bytes()
    assert list(other.parent.iterdir()) == [other]


@pytest.mark.parametrize("order", [("b", "a"), ("a", "b")])
def test_json_and_weights_do_not_depend_on_the_order_of_keys(tmp_path, order):
    write_json(tmp_path / "x.json", {name: {"n": 1} for name in order})
    save_weights(tmp_path / "x.safetensors", {name: WEIGHTS[name] for name in order}, dict.fromkeys(order, 1))
    write_json(tmp_path / "y.json", {name: {"n": 1} for name in "ab"})
    save_weights(tmp_path / "y.safetensors", WEIGHTS, {"a": 1, "b": 1})
    for kind in ("json", "safetensors"):
        assert (tmp_path / f"x.{kind}").read_bytes() == (tmp_path / f"y.{kind}").read_bytes()


def test_arrays_come_back_as_they_were(tmp_path):
    path = tmp_path / "data.npz"
    arrays = {"x": np.arange(12, dtype=np.uint8).reshape(3, 4), "y": np.zeros((0, 2), np.float32), "z": np.array(1.5)}
    save_arrays(path, **arrays)
    loaded = load_arrays(path)
    assert list(loaded) == list(arrays)
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)
    assert list(load_arrays(path, "z", "x")) == ["z", "x"]


def test_object_arrays_are_not_written_and_leave_nothing(tmp_path):
    path = tmp_path / "data.npz"
    save_arrays(path, x=np.ones(1))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="Object arrays"):
        save_arrays(path, x=np.array([1, "a"], object))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_object_arrays_are_refused_and_not_executed(tmp_path):
    path, mark = tmp_path / "data.npz", tmp_path / "executed"
    np.savez(path, x=np.array([Trap(mark)], object))
    with pytest.raises(StorageError, match=r"not a readable \.npz of plain arrays"):
        load_arrays(path)
    assert not mark.exists()


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "lacks a name", "folder", "single array"])
def test_bad_arrays_are_a_storage_error_that_names_the_file(tmp_path, damage):
    path, names = tmp_path / "data.npz", ()
    if damage in ("truncated", "lacks a name"):
        save_arrays(path, x=np.random.default_rng(0).random(999))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "text":
        path.write_text("no archive", encoding="utf-8")
    elif damage == "folder":
        path.mkdir()
    elif damage == "lacks a name":
        names = ("y",)
    elif damage == "single array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    with pytest.raises(StorageError) as caught:
        load_arrays(path, *names)
    assert str(path) in str(caught.value)


def test_weights_come_back_with_their_description(tmp_path):
    path = tmp_path / "w.safetensors"
    transposed = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last)
    save_weights(path, {**WEIGHTS, "c": transposed}, {"width": 8, "stem": None})
    weights, description = load_weights(path)
    assert description == {"width": 8, "stem": None}
    assert {name: tensor.tolist() for name, tensor in weights.items()} == {
        **{name: tensor.tolist() for name, tensor in WEIGHTS.items()},
        "c": transposed.tolist(),
    }


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "pickle", "no description", "bad description"])
def test_bad_weights_are_a_storage_error_that_names_the_file(tmp_path, damage):
    from safetensors.torch import save_file

    path, mark = tmp_path / "w.safetensors", tmp_path / "executed"
    save_weights(path, WEIGHTS, {})
    if damage == "missing":
        path.unlink()
    elif damage in ("empty", "truncated"):
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else -9])
    elif damage == "pickle":
        path.write_bytes(pickle.dumps(Trap(mark)))
    elif damage == "no description":
        save_file(WEIGHTS, path)
    else:
        save_file(WEIGHTS, path, metadata={"network": "{"})
    with pytest.raises(StorageError) as caught:
        load_weights(path)
    assert str(path) in str(caught.value)
    assert not mark.exists()


def test_json_writes_what_is_no_number_as_null(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": float("nan"), "b": [np.float32("inf"), 1], "c": {"d": (-np.inf, np.float64("nan"))}})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": None, "b": [None, 1], "c": {"d": [None, None]}}


def test_json_takes_numpy_scalars_and_keeps_types(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"i": np.int64(3), "b": np.bool_(True), "f": np.float32(0.5), 7: "key"})
    assert path.read_text(encoding="utf-8") == '{\n  "7": "key",\n  "b": true,\n  "f": 0.5,\n  "i": 3\n}\n'
    assert read_json(path) == {"7": "key", "b": True, "f": 0.5, "i": 3}


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_json_keeps_eight_digits(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "eight.json"
    write_json(path, {"x": value})
    assert read_json(path)["x"] == pytest.approx(value, rel=1e-7, abs=1e-300)


def test_content_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": np.zeros(2)})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_table_comes_back_with_eight_digits_and_gaps(tmp_path):
    path = tmp_path / "x.csv"
    table = pd.DataFrame({"name": ["a", "b"], "count": [1, 2], "share": [1 / 3, np.nan]})
    write_table(path, table)
    assert path.read_text(encoding="utf-8") == "name,count,share\na,1,0.33333333\nb,2,\n"
    pd.testing.assert_frame_equal(read_table(path), table, rtol=1e-7)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).filter(str.strip)
ROWS = st.builds(dict, epoch=st.integers(0, 10**6), loss=st.floats(), name=NAMES, kept=st.booleans())


LIKE_NUMBERS = ["1", "01", "1.0", "1e5", "12e345678901", "inf", "-1", "+1", "1_000"]
LIKE_GAPS = ["NA", "N/A", "None", "null", "nan", "NaN", "n/a", "#N/A", "<NA>", "True", "false"]


@pytest.mark.parametrize("column", sorted(TEXT_COLUMNS))
def test_words_come_back_as_they_were_written_and_an_empty_cell_is_missing(tmp_path, column):
    words = [*LIKE_NUMBERS, *LIKE_GAPS, " a b ", 'a "b", c']
    table = pd.DataFrame({column: [*words, None, ""], "share": [*np.arange(len(words)), np.nan, 0.5]})
    write_table(tmp_path / "x.csv", table)
    read = read_table(tmp_path / "x.csv")
    assert read[column].tolist()[:-2] == words and read[column].isna().tolist() == [False] * len(words) + [True] * 2
    assert read.share.isna().sum() == 1 and read.share.dtype == float


@settings(max_examples=25)
@given(rows=st.lists(ROWS, min_size=1, max_size=5))
def test_rows_are_written_as_a_table_of_them_is(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder / "rows.csv", rows)
    write_table(folder / "table.csv", pd.DataFrame(rows))
    assert (folder / "rows.csv").read_bytes() == (folder / "table.csv").read_bytes()


def test_rows_of_other_columns_leave_the_old_file(tmp_path):
    path = tmp_path / "x.csv"
    write_rows(path, [{"a": 1, "b": 2}])
    with pytest.raises(ValueError, match="columns b, a; allowed: a, b"):
        write_rows(path, [{"a": 3, "b": 4}, {"b": 5, "a": 6}])
    assert path.read_text(encoding="utf-8") == "a,b\n1,2\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("reader", "name", "text"),
    [
        (read_json, "x.json", None),
        (read_json, "x.json", "{"),
        (read_json, "x.json", ""),
        (read_table, "x.csv", None),
        (read_table, "x.csv", ""),
        (read_table, "x.csv", "a,b\n1,2\n1,2,3,4\n"),
    ],
)
def test_bad_text_files_are_a_storage_error_that_names_the_file(tmp_path, reader, name, text):
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(StorageError) as caught:
        reader(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("reader", "name"), [(read_json, "x.json"), (read_table, "x.csv")])
def test_binary_files_are_a_storage_error(tmp_path, reader, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StorageError, match=name):
        reader(tmp_path / name)


FILL = """
import os, sys
from pathlib import Path
import numpy as np, pandas as pd, torch
from defuse.core.errors import StorageError
from defuse.core.storage import save_arrays, write_json, write_rows, write_table, write_text
from defuse.models.weights import save_weights

folder, noise = Path(sys.argv[1]), np.random.default_rng(0).random(100_000)
writers = {
    "data.npz": lambda path, size: save_arrays(path, x=noise[:size]),
    "data.csv": lambda path, size: write_table(path, pd.DataFrame({"x": noise[:size]})),
    "page.html": lambda path, size: write_text(path, "x" * size),
    "rows.csv": lambda path, size: write_rows(path, [{"x": value} for value in noise[:size].tolist()]),
    "data.json": lambda path, size: write_json(path, {"x": noise[:size].tolist()}),
    "data.safetensors": lambda path, size: save_weights(path, {"x": torch.from_numpy(noise[:size].copy())}, {}),
}
for name, write in writers.items():
    write(folder / name, 10)
earlier = {name: (folder / name).read_bytes() for name in writers}
for size in (100_000, 20):
    for name, write in writers.items():
        try:
            write(folder / name, size)
        except StorageError as error:
            print(error)
    assert earlier == {path.name: path.read_bytes() for path in folder.iterdir()}, os.listdir(folder)
    os.system(f"mount -o remount,ro {folder}")
"""


def test_a_full_disk_and_a_read_only_folder_are_named_and_leave_the_earlier_files_whole(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f"mount -t tmpfs -o size=64k tmpfs {disk} && exec "
    if subprocess.run(["unshare", "-rm", "sh", "-c", f"{mounted} true"], capture_output=True).returncode:
        pytest.skip("this system lets no test mount a disk of its own")
    command = mounted + shlex.join([sys.executable, "-c", FILL, str(disk)])
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    for message in ("No space left on device", "Read-only file system"):
        for name in WRITERS:
            starts = f"{disk / name}: cannot be written: "
            assert [line for line in done.stdout.splitlines() if line.startswith(starts) and message in line], done


@pytest.mark.parametrize("name", WRITERS)
def test_an_error_of_the_system_is_told_with_the_file(tmp_path, monkeypatch, name):
    path = tmp_path / name
    WRITERS[name](path, 0)
    earlier = path.read_bytes()

    def replace(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", replace)
    with pytest.raises(StorageError, match=f"{name}: cannot be written: No space left on device"):
        WRITERS[name](path, 1)
    assert path.read_bytes() == earlier and list(tmp_path.iterdir()) == [path]


def test_temporary_files_of_a_killed_process_are_removed_and_others_left(tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, encoding="utf-8"
    )
    alive = os.getppid()
    for process in (killed.stdout.strip(), alive):
        (tmp_path / f".data.{process}.csv").write_text("half", encoding="utf-8")
    (tmp_path / f".data.{killed.stdout.strip()}.npz").write_text("of another file", encoding="utf-8")
    write_table(tmp_path / "data.csv", pd.DataFrame({"x": [1]}))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"data.csv", f".data.{alive}.csv", f".data.{killed.stdout.strip()}.npz"}
