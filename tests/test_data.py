"""Data sets: sources, checks, splits, provenance, and the stage `prepare`."""

import hashlib
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from conftest import Trap
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat
from sklearn.model_selection import StratifiedGroupKFold

from defuse.core.errors import DataError, StorageError
from defuse.core.storage import load_arrays, save_arrays
from defuse.data.prepared import CLASSES, load_split
from defuse.data.sources import (
    FULL_SIZES,
    Source,
    check_source,
    provenance_of,
    read_digits,
    read_mirror,
    read_torchvision,
    to_side,
)
from defuse.data.splits import prepare_arrays, split_validation
from experiments.prepare import prepare
from experiments.shared.command import run

READERS = {"mnist": "MNIST", "svhn": "SVHN", "gtsrb": "GTSRB"}


def mirror_arrays(classes=10, per_class=12, side=32, channels=1, seed=0):
    """Arrays of a mirror: random uint8 images, `per_class` of each class in training and 2 in test."""
    generator = np.random.default_rng(seed)

    def images(count):
        return generator.integers(0, 256, (count, side, side, channels), np.uint8)

    y_train, y_test = generator.permutation(np.repeat(np.arange(classes), per_class)), np.repeat(np.arange(classes), 2)
    return {"x_train": images(len(y_train)), "y_train": y_train, "x_test": images(len(y_test)), "y_test": y_test}


def source(**changes):
    return replace(Source(**mirror_arrays(), group_train=None, provenance={"source": "mirror"}), **changes)


def labelled(y_train, groups=None):
    """A source in which only labels and groups matter."""
    y_train = np.asarray(y_train)
    return source(x_train=np.zeros((len(y_train), 1, 1, 1), np.uint8), y_train=y_train, group_train=groups)


# Digits


def test_digits_are_all_there_and_split():
    digits = read_digits(0.25, 7)
    assert (len(digits.y_train), len(digits.y_test)) == (1347, 450)
    assert digits.x_train.shape[1:] == digits.x_test.shape[1:] == (8, 8, 1)
    assert digits.x_train.min() == 0 and digits.x_train.max() == 255
    check_source(digits, "digits")
    shares = np.bincount(digits.y_test) / np.bincount(np.concatenate([digits.y_train, digits.y_test]))
    assert np.abs(shares - 0.25).max() < 0.01
    everything = np.concatenate([digits.x_train, digits.x_test]).reshape(1797, -1)
    from sklearn.datasets import load_digits

    expected = np.round(load_digits().data * 255 / 16)
    assert sorted(map(bytes, everything)) == sorted(map(bytes, expected.astype(np.uint8)))


def test_digits_split_depends_on_the_random_state_alone():
    first, again, other = read_digits(0.25, 7), read_digits(0.25, 7), read_digits(0.25, 8)
    assert np.array_equal(first.x_test, again.x_test) and not np.array_equal(first.x_test, other.x_test)


# Sizes


def test_28x28_is_padded_and_no_pixel_changes():
    images = mirror_arrays(side=28)["x_train"]
    padded = to_side(images)
    assert padded.shape == (120, 32, 32, 1) and padded.dtype == np.uint8
    np.testing.assert_array_equal(padded[:, 2:30, 2:30], images)
    assert int(padded.sum()) == int(images.sum())


def test_32x32_is_left_alone():
    images = mirror_arrays(channels=3)["x_train"]
    np.testing.assert_array_equal(to_side(images), images)


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (64, 64, 3), (20, 45, 3), (16, 16, 1)])
def test_other_sizes_are_resized_and_keep_their_brightness(height, width, channels):
    ramp = np.linspace(0, 255, height)[:, None, None] * np.array([1.0, 0.5, 0.2])[:channels]
    images = np.broadcast_to(ramp, (2, height, width, channels)).astype(np.uint8)
    images[1] = 77
    resized = to_side(images)
    assert resized.shape == (2, 32, 32, channels) and resized.dtype == np.uint8
    assert (resized[1] == 77).all()
    np.testing.assert_allclose(resized[0].mean((0, 1)), images[0].mean((0, 1)), atol=1.5)
    assert (np.diff(resized[0, :, 0, 0].astype(int)) >= 0).all()  # rows stay rows


# Mirror


def test_mirror_is_read_with_its_digest(tmp_path):
    arrays, path = mirror_arrays(), tmp_path / "mnist.npz"
    save_arrays(path, **arrays)
    mirror = read_mirror(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(mirror, name), array)
    assert mirror.group_train is None
    assert mirror.provenance == {
        "source": "mirror",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
    }


def test_mirror_may_hold_groups(tmp_path):
    groups = np.arange(120) // 4
    save_arrays(tmp_path / "gtsrb.npz", **mirror_arrays(), group_train=groups)
    np.testing.assert_array_equal(read_mirror(tmp_path / "gtsrb.npz").group_train, groups)


def test_mirror_without_arrays_says_which(tmp_path):
    arrays = mirror_arrays()
    save_arrays(tmp_path / "m.npz", x_train=arrays["x_train"], y_test=arrays["y_test"])
    with pytest.raises(DataError, match=r"m.npz: arrays missing: y_train, x_test; it holds x_train, y_test"):
        read_mirror(tmp_path / "m.npz")


@pytest.mark.parametrize("damage", ["truncated", "objects", "text", "missing"])
def test_damaged_mirror_is_refused_by_name(tmp_path, damage):
    path, mark, arrays = tmp_path / "m.npz", tmp_path / "executed", mirror_arrays()
    save_arrays(path, **arrays)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "objects":
        np.savez(path, **{**arrays, "y_train": np.array([Trap(mark)] * 120, object)})
    elif damage == "text":
        path.write_text("no archive", encoding="utf-8")
    else:
        path.unlink()
    with pytest.raises(DataError) as caught:
        read_mirror(path)
    assert str(path) in str(caught.value)
    assert not mark.exists()


# Checks


def test_good_sources_pass():
    check_source(source(), "mnist")
    check_source(source(y_train=source().y_train.astype(np.uint8), group_train=np.arange(120)), "svhn")
    check_source(Source(**mirror_arrays(43, channels=3), group_train=None, provenance={}), "gtsrb")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((120, 32, 32, 1), np.float32)}, "x_train is float32 .*; allowed: uint8"),
        ({"x_train": np.zeros((120, 32, 32), np.uint8)}, r"x_train is uint8 \(120, 32, 32\); allowed: uint8"),
        ({"x_test": np.zeros((20, 32, 32, 2), np.uint8)}, r"x_test is uint8 \(20, 32, 32, 2\); allowed"),
        ({"x_test": np.zeros((20, 1, 32, 32), np.uint8)}, r"x_test is uint8 \(20, 1, 32, 32\); allowed"),
        ({"y_train": np.zeros(120)}, r"y_train is float64 \(120,\); allowed: int64 \(120,\)"),
        ({"y_train": np.zeros(119, int)}, r"y_train is int64 \(119,\); allowed: int64 \(120,\)"),
        ({"y_test": np.zeros((20, 1), int)}, r"y_test is int64 \(20, 1\); allowed"),
        ({"y_train": np.arange(120) % 11}, "y_train holds 0 to 10; allowed: 0 to 9"),
        ({"y_test": np.arange(20) % 10 - 1}, "y_test holds -1 to 8; allowed: 0 to 9"),
        ({"y_train": np.arange(120) % 8}, "y_train has no image of class 8, 9"),
        ({"y_test": np.zeros(20, int)}, "y_test has no image of class 1, 2, 3"),
        ({"x_test": np.zeros((0, 32, 32, 1), np.uint8), "y_test": np.zeros(0, int)}, "y_test holds no label"),
        ({"x_test": np.zeros((20, 32, 32, 3), np.uint8)}, "x_train and x_test differ in channels"),
        ({"group_train": np.zeros(119, int)}, r"group_train is \(119,\); allowed: \(120,\)"),
    ],
)
def test_bad_sources_are_refused(changes, message):
    with pytest.raises(DataError, match=f"mnist: {message}"):
        check_source(source(**changes), "mnist")


# Validation


@given(st.data())
def test_no_group_is_on_both_sides_and_no_class_is_lost(data):
    # At least six groups of up to three images in each class: enough for the five folds of fraction 0.2.
    sizes = data.draw(st.lists(st.lists(st.integers(1, 3), min_size=6, max_size=9), min_size=2, max_size=4))
    pairs = [
        (label, 100 * label + number)
        for label, groups in enumerate(sizes)
        for number, size in enumerate(groups)
        for _ in range(size)
    ]
    labels, groups = np.array(data.draw(st.permutations(pairs))).T
    fraction, random_state = data.draw(st.sampled_from([0.2, 0.25, 0.5])), data.draw(st.integers(0, 2**32 - 1))
    chosen = split_validation(labelled(labels, groups), fraction, random_state)
    assert chosen.shape == labels.shape and chosen.dtype == bool
    assert chosen.any() and not chosen.all()
    assert not set(groups[chosen]) & set(groups[~chosen])
    assert set(labels[~chosen]) == set(labels)
    again = split_validation(labelled(labels, groups), fraction, random_state)
    np.testing.assert_array_equal(again, chosen)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.5])
def test_equal_groups_give_the_fraction_in_every_class(fraction):
    labels, groups = np.repeat(np.arange(5), 100), np.arange(500) // 5
    chosen = split_validation(labelled(labels, groups), fraction, 3)
    np.testing.assert_array_equal(np.bincount(labels[chosen]), round(100 * fraction))


@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.4])
def test_split_without_groups_is_stratified(fraction):
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [200, 100, 60]))
    chosen = split_validation(labelled(labels), fraction, 3)
    np.testing.assert_array_equal(np.bincount(labels[chosen]), np.round(np.array([200, 100, 60]) * fraction))


@pytest.mark.parametrize("groups", [None, np.arange(120) // 2])
def test_split_depends_on_the_random_state(groups):
    first, again, other = (split_validation(source(group_train=groups), 0.25, state) for state in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_prepared_arrays_hold_each_image_once_with_its_label():
    raw = source()
    chosen = split_validation(raw, 0.25, 0)
    arrays = prepare_arrays(raw, chosen)
    assert set(arrays) == {f"{kind}_{split}" for kind in "xy" for split in ("train", "validation", "test")}
    assert [len(arrays[f"y_{split}"]) for split in ("train", "validation", "test")] == [90, 30, 20]
    prepared = {
        bytes(image): label
        for split in ("train", "validation")
        for image, label in zip(arrays[f"x_{split}"], arrays[f"y_{split}"])
    }
    assert prepared == {bytes(image): label for image, label in zip(raw.x_train, raw.y_train)}
    np.testing.assert_array_equal(arrays["x_test"], raw.x_test)
    assert all(array.dtype == (np.uint8 if name[0] == "x" else np.int64) for name, array in arrays.items())


def test_load_split_scales_to_one_and_moves_the_channels(tmp_path):
    raw = Source(**mirror_arrays(channels=3), group_train=None, provenance={})
    save_arrays(tmp_path / "data.npz", **prepare_arrays(raw, split_validation(raw, 0.25, 0)))
    images, labels = load_split(tmp_path / "data.npz", "test")
    assert images.shape == (20, 3, 32, 32) and images.dtype == torch.float32 and labels.dtype == torch.int64
    np.testing.assert_allclose(images.numpy() * 255, raw.x_test.transpose(0, 3, 1, 2), atol=1e-4)
    assert labels.tolist() == raw.y_test.tolist()
    with pytest.raises(StorageError, match="x_holdout"):
        load_split(tmp_path / "data.npz", "holdout")


def spread(tracks, frames=10, classes=43):
    """Labels and groups of `tracks` groups in each class: as many as `classes`, or as a list says for each."""
    counts = np.broadcast_to(tracks, classes)
    pairs = [(label, 100 * label + track) for label in range(classes) for track in range(counts[label])]
    return np.repeat(np.array(pairs), frames, axis=0).T


def groups_of_gtsrb():
    """As many groups of 30 frames in each class as GTSRB has physical signs."""
    signs = [5, 50, 50, 32, 44, 42, 10, 32, 32, 33, 45, 30, 47, 48, 18, 14, 10, 25, 27, 5, 8, 8, 9, 12, 6, 34, 14, 6]
    signs += [12, 6, 10, 18, 6, 16, 10, 27, 9, 5, 46, 7, 8, 6, 6]
    assert (len(signs), 30 * sum(signs)) == (43, FULL_SIZES["gtsrb"][0])
    return spread(signs, 30)


@pytest.mark.parametrize("random_state", range(3))
def test_each_class_of_gtsrb_has_validation_images_and_the_share_is_kept(random_state):
    """A tenth of the signs is less than a fold can spread over all classes: some have five signs."""
    labels, groups = groups_of_gtsrb()
    chosen = split_validation(labelled(labels, groups), 0.1, random_state)
    assert set(labels[chosen]) == set(labels[~chosen]) == set(range(43))
    assert not set(groups[chosen]) & set(groups[~chosen])
    assert 0.1 <= chosen.mean() < 0.12
    again = split_validation(labelled(labels, groups), 0.1, random_state)
    np.testing.assert_array_equal(again, chosen)


def test_a_fold_with_every_class_is_left_as_it_is():
    labels, groups = spread(20)
    chosen = split_validation(labelled(labels, groups), 0.1, 0)
    folds = StratifiedGroupKFold(10, shuffle=True, random_state=0)
    assert np.flatnonzero(chosen).tolist() == next(folds.split(labels, labels, groups))[1].tolist()


def test_a_fraction_too_small_for_a_group_of_each_class_is_refused():
    labels, groups = spread(2, 5)
    with pytest.raises(DataError, match=r"validation_fraction 0\.1, a group of each class makes validation 50% of the"):
        split_validation(labelled(labels, groups), 0.1, 0)
    chosen = split_validation(labelled(labels, groups), 0.5, 0)
    assert set(labels[chosen]) == set(labels[~chosen]) == set(range(43))


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_a_class_of_one_group_is_named(fraction):
    labels, groups = spread([9, 9, 1, 9, 1], classes=5)
    message = rf"^with validation_fraction {fraction}, (validation|training) has no image of class 2(, 4)?; allowed: more groups"
    with pytest.raises(DataError, match=message):
        split_validation(labelled(labels, groups), fraction, 0)


def test_a_fold_of_three_images_gets_a_group_that_brings_the_other_classes():
    """Nine groups hold each class alike and one has three images, which make the first fold."""
    labels = np.concatenate([np.tile(np.arange(10), 36), [0, 1, 2]])
    groups = np.concatenate([np.repeat(np.arange(9), 40), [9, 9, 9]])
    chosen = split_validation(labelled(labels, groups), 0.1, 0)
    assert chosen.sum() == 43 and chosen[-3:].all() and set(labels[chosen]) == set(labels[~chosen]) == set(range(10))
    assert len({split_validation(labelled(labels, groups), 0.1, state).tobytes() for state in range(5)}) > 1


def test_without_groups_a_class_left_without_validation_image_is_named():
    labels = np.repeat(np.arange(6), [100, 100, 100, 100, 2, 2])
    with pytest.raises(
        DataError, match=r"0\.1, validation has no image of class [45]; allowed: more images of each, or a"
    ):
        split_validation(labelled(labels), 0.1, 0)


@pytest.mark.parametrize("per_class", [1, 3])
def test_classes_too_small_to_split_are_a_data_error(per_class):
    raw = Source(**mirror_arrays(per_class=per_class), group_train=None, provenance={})

    def split():
        check_source(raw, "mnist")
        split_validation(raw, 0.1, 0)

    with pytest.raises(DataError):
        split()


# Provenance


def sized(train, test, channels, origin="mirror"):
    """A source of any size that takes no memory."""
    images = [np.broadcast_to(np.zeros((), np.uint8), (count, 32, 32, channels)) for count in (train, test)]
    provenance = {"source": origin} | ({"sha256": "0123456789abcdef", "bytes": 9} if origin == "mirror" else {})
    return Source(images[0], np.zeros(train, int), images[1], np.zeros(test, int), None, provenance)


@pytest.mark.parametrize(
    ("dataset", "train", "test", "channels", "origin", "slug", "title"),
    [
        ("svhn", *FULL_SIZES["svhn"], 3, "mirror", "svhn", "SVHN"),
        ("svhn", *FULL_SIZES["svhn"], 3, "torchvision", "svhn", "SVHN"),
        ("svhn", *FULL_SIZES["svhn"], 1, "mirror", "svhn_greyscale", "SVHN greyscale"),
        ("svhn", 19551, 4808, 1, "mirror", "svhn_greyscale_subset", "SVHN greyscale subset"),
        ("svhn", 5000, 1000, 1, "mirror", "svhn_greyscale_subset", "SVHN greyscale subset"),
        ("svhn", 5000, 1000, 3, "mirror", "svhn_subset", "SVHN subset"),
        ("svhn", FULL_SIZES["svhn"][0], 1000, 3, "mirror", "svhn_subset", "SVHN subset"),
        ("mnist", *FULL_SIZES["mnist"], 1, "mirror", "mnist", "MNIST"),
        ("mnist", 59999, 10000, 1, "mirror", "mnist_subset", "MNIST subset"),
        ("gtsrb", *FULL_SIZES["gtsrb"], 3, "torchvision", "gtsrb", "GTSRB"),
        ("mnist", *FULL_SIZES["mnist"], 3, "mirror", "mnist_colour", "MNIST colour"),
        ("gtsrb", 26640, 12630, 3, "mirror", "gtsrb", "GTSRB"),
        ("gtsrb", 430, 86, 3, "mirror", "gtsrb_subset", "GTSRB subset"),
        ("gtsrb", 430, 86, 1, "mirror", "gtsrb_greyscale_subset", "GTSRB greyscale subset"),
        ("gtsrb", 39209, 12630, 3, "mirror", "gtsrb_other_selection", "GTSRB other selection"),
        ("mnist", 50000, 20000, 3, "mirror", "mnist_colour_other_selection", "MNIST colour other selection"),
        ("digits", 1347, 450, 1, "scikit-learn", "digits", "Digits (scikit-learn)"),
    ],
)
def test_provenance_never_passes_a_part_for_the_whole(dataset, train, test, channels, origin, slug, title):
    provenance = provenance_of(sized(train, test, channels, origin), dataset)
    assert (provenance["slug"], provenance["title"]) == (slug, title)
    line = f"{title}: {train:,} training and {test:,} test images, 32x32x{channels}, {origin}"
    assert provenance["line"] == line + (" sha256 0123456789ab" if origin == "mirror" else "")
    assert (provenance["training_images"], provenance["test_images"]) == (train, test)


# torchvision


@pytest.mark.parametrize("error", [RuntimeError("Error downloading"), URLError("no network"), OSError("disk full")])
@pytest.mark.parametrize("dataset", READERS)
def test_missing_data_says_both_ways_to_get_it(tmp_path, monkeypatch, dataset, error):
    def fail(*_, **options):
        assert options["download"] is True
        raise error

    monkeypatch.setattr(torchvision.datasets, READERS[dataset], fail)
    with pytest.raises(DataError) as caught:
        read_torchvision(dataset, tmp_path / "data")
    for part in ("DEFUSE_DATA_DIR", "download", f"{dataset}.npz", str(tmp_path / "data"), str(error)):
        assert part in str(caught.value)


def call_whole(monkeypatch, dataset, train, test):
    """Let files of a few images count as the whole data set."""
    monkeypatch.setitem(FULL_SIZES, dataset, (train, test))


def write_mnist(folder, arrays):
    """MNIST's four raw files in torchvision's place, so that it has nothing to download."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, split in (("train", "train"), ("t10k", "test")):
        x, y = arrays[f"x_{split}"][..., 0], arrays[f"y_{split}"].astype(np.uint8)
        sizes = b"".join(size.to_bytes(4, "big") for size in x.shape)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + x.tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[:4] + y.tobytes())


def test_mnist_files(tmp_path, monkeypatch):
    arrays = mirror_arrays(side=28)
    write_mnist(tmp_path, arrays)
    call_whole(monkeypatch, "mnist", 120, 20)
    read = read_torchvision("mnist", tmp_path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(read, name), array)
    assert read.group_train is None and read.provenance == {"source": "torchvision"}
    check_source(read, "mnist")


@pytest.mark.parametrize(("train", "test"), [(120, 21), (121, 20), (119, 20)])
def test_a_download_of_other_counts_is_refused(tmp_path, monkeypatch, train, test):
    write_mnist(tmp_path, mirror_arrays(side=28))
    call_whole(monkeypatch, "mnist", train, test)
    place = tmp_path / "MNIST"
    with pytest.raises(DataError) as caught:
        read_torchvision("mnist", tmp_path)
    assert str(caught.value) == (
        f"{place} holds 120 training and 20 test images, and the whole MNIST {train} and {test}: unzipping was cut off, "
        f"or files are missing; delete {place} and run again"
    )


def test_truncated_mnist_files_are_a_data_error(tmp_path):
    write_mnist(tmp_path, mirror_arrays(side=28))
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="DEFUSE_DATA_DIR"):
        read_torchvision("mnist", tmp_path)


def test_empty_mnist_files_are_a_data_error(tmp_path):
    write_mnist(tmp_path, mirror_arrays(side=28))
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="DEFUSE_DATA_DIR"):
        read_torchvision("mnist", tmp_path)


def write_svhn(folder, arrays, monkeypatch):
    """SVHN's two files, and their digests where torchvision looks for them: nothing to download."""
    splits = {}
    for split in ("train", "test"):
        labels = np.where(arrays[f"y_{split}"] == 0, 10, arrays[f"y_{split}"]).astype(np.uint8)
        path = folder / f"{split}_32x32.mat"
        savemat(path, {"X": arrays[f"x_{split}"].transpose(1, 2, 3, 0), "y": labels[:, None]})
        splits[split] = ["http://nowhere.invalid", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)


def test_svhn_files_whose_label_10_is_the_digit_0(tmp_path, monkeypatch):
    arrays = mirror_arrays(channels=3)
    write_svhn(tmp_path, arrays, monkeypatch)
    call_whole(monkeypatch, "svhn", 120, 20)
    read = read_torchvision("svhn", tmp_path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(read, name), array)
    assert read.group_train is None
    check_source(read, "svhn")


def write_gtsrb(folder, classes=43, tracks=2, frames=3):
    """GTSRB's folders: training images named TRACK_FRAME.ppm by class, test images with a table of labels.

    Each training image has one colour: (class, track, frame); each test image (class, 200, number).
    """
    base = folder / "gtsrb"
    for label in range(classes):
        place = base / "GTSRB" / "Training" / f"{label:05d}"
        place.mkdir(parents=True)
        (place / f"GT-{label:05d}.csv").write_text("Filename;Width;Height\n", encoding="utf-8")
        for track, frame in itertools.product(range(tracks), range(frames)):
            size = (25 + frame, 30 + track)
            Image.new("RGB", size, (label, track, frame)).save(place / f"{track:05d}_{frame:05d}.ppm")
    place = base / "GTSRB" / "Final_Test" / "Images"
    place.mkdir(parents=True)
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for number, label in enumerate(reversed(range(classes))):
        Image.new("RGB", (32, 32), (label, 200, number)).save(place / f"{number:05d}.ppm")
        rows.append(f"{number:05d}.ppm;32;32;1;1;30;30;{label}")
    (base / "GT-final_test.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_gtsrb_files_whose_tracks_become_groups(tmp_path, monkeypatch):
    write_gtsrb(tmp_path)
    call_whole(monkeypatch, "gtsrb", 43 * 6, 43)
    read = read_torchvision("gtsrb", tmp_path)
    check_source(read, "gtsrb")
    assert read.x_train.shape == (43 * 6, 32, 32, 3) and read.x_test.shape == (43, 32, 32, 3)
    colour = read.x_train[:, 16, 16]
    np.testing.assert_array_equal(read.y_train, colour[:, 0])
    np.testing.assert_array_equal(read.x_test[:, 0, 0, 0], read.y_test)
    assert read.y_test.tolist() == list(reversed(range(43)))
    # One group for one physical sign: the pair of class and track.
    assert len(set(read.group_train)) == len({(*pair,) for pair in colour[:, :2].tolist()}) == 86
    assert len(set(zip(read.group_train.tolist(), colour[:, 0].tolist(), colour[:, 1].tolist()))) == 86


def test_gtsrb_without_its_test_labels_is_a_data_error(tmp_path):
    write_gtsrb(tmp_path, classes=2)
    (tmp_path / "gtsrb" / "GT-final_test.csv").unlink()
    with pytest.raises(DataError, match="GTSRB cannot be read"):
        read_torchvision("gtsrb", tmp_path)


def test_gtsrb_with_a_damaged_image_is_a_data_error(tmp_path):
    write_gtsrb(tmp_path, classes=2)
    path = tmp_path / "gtsrb" / "GTSRB" / "Training" / "00001" / "00001_00002.ppm"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="GTSRB cannot be read"):
        read_torchvision("gtsrb", tmp_path)


# The stage


@pytest.fixture
def project(tmp_path, monkeypatch, shipped_tree):
    """An empty project with the shipped parameters for all data sets, and an empty folder of mirrors."""
    folder, mirrors = tmp_path / "project", tmp_path / "mirrors"
    folder.mkdir()
    mirrors.mkdir()
    tree = {**shipped_tree, "datasets": list(CLASSES), "seeds": [0], "study_seeds": [0]}
    (folder / "params.yaml").write_text(json.dumps(tree), encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DEFUSE_DATA_DIR", str(mirrors))
    return mirrors


def written():
    return sorted(path for path in Path("artifacts").rglob("*") if path.is_file())


def test_prepare_writes_arrays_and_provenance(project):
    save_arrays(project / "mnist.npz", **mirror_arrays(side=28, per_class=20))
    run("prepare", prepare, "mnist")
    folder = Path("artifacts/prepare/mnist")
    assert written() == [folder / "data.npz", folder / "provenance.json"]
    arrays = load_arrays(folder / "data.npz")
    assert arrays["x_train"].shape[1:] == (32, 32, 1)
    assert len(arrays["y_train"]) + len(arrays["y_validation"]) == 200
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["slug"] == "mnist_subset"
    assert provenance["sha256"] == hashlib.sha256((project / "mnist.npz").read_bytes()).hexdigest()


def test_prepare_writes_the_same_bytes_again(project):
    save_arrays(project / "mnist.npz", **mirror_arrays(side=28))
    run("prepare", prepare, "mnist")
    first = [path.read_bytes() for path in written()]
    shutil.rmtree("artifacts")
    run("prepare", prepare, "mnist")
    assert [path.read_bytes() for path in written()] == first and len(first) == 2


def test_prepare_keeps_groups_on_one_side(project):
    arrays = mirror_arrays(43, per_class=24, channels=3)
    groups = arrays["y_train"] * 100 + np.random.default_rng(1).integers(0, 8, len(arrays["y_train"]))
    arrays["x_train"][:, :, :, 0], arrays["x_train"][:, :, :, 1] = (groups // 100)[:, None, None], 0
    arrays["x_train"][:, :, :, 2] = (groups % 100)[:, None, None]
    save_arrays(project / "gtsrb.npz", **arrays, group_train=groups)
    run("prepare", prepare, "gtsrb")
    prepared = load_arrays(Path("artifacts/prepare/gtsrb/data.npz"))
    # The colour of an image is its class and track.
    train, validation = (
        {tuple(pixel) for pixel in prepared[f"x_{split}"][:, 0, 0].tolist()} for split in ("train", "validation")
    )
    assert train and validation and not train & validation


def test_prepare_digits_needs_no_mirror_and_no_network(project):
    run("prepare", prepare, "digits")
    arrays = load_arrays(Path("artifacts/prepare/digits/data.npz"))
    assert sum(len(arrays[f"y_{split}"]) for split in ("train", "validation", "test")) == 1797
    assert {array.shape[1:] for name, array in arrays.items() if name[0] == "x"} == {(32, 32, 1)}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "mnist.npz does not exist"),
        ("truncated", "not a readable .npz"),
        ("no class", "no image of class 9"),
        ("one array", "arrays missing: y_train, x_test, y_test"),
        ("floats", "allowed: uint8"),
    ],
)
def test_bad_mirror_ends_prepare_with_one_line_and_leaves_nothing(project, damage, message):
    path, arrays = project / "mnist.npz", mirror_arrays()
    if damage == "no class":
        arrays["y_train"] %= 9
    elif damage == "one array":
        arrays = {"x_train": arrays["x_train"]}
    elif damage == "floats":
        arrays["x_test"] = arrays["x_test"] / 255
    save_arrays(path, **arrays)
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(SystemExit) as caught:
        run("prepare", prepare, "mnist")
    assert str(caught.value).startswith("prepare mnist: ") and message in str(caught.value)
    assert written() == []


def test_prepare_without_mirror_and_network_says_what_to_do(project, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no network")

    monkeypatch.delenv("DEFUSE_DATA_DIR")
    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    with pytest.raises(SystemExit, match=r"prepare mnist: MNIST cannot be read: no network. .*DEFUSE_DATA_DIR"):
        run("prepare", prepare, "mnist")
    assert written() == []


def test_a_gtsrb_that_was_cut_off_while_unzipping_is_refused(project, monkeypatch):
    """The first frames of each class are there; torchvision takes the folder for a whole one."""
    monkeypatch.delenv("DEFUSE_DATA_DIR")
    write_gtsrb(Path("data"), tracks=10, frames=1)
    with pytest.raises(SystemExit) as caught:
        run("prepare", prepare, "gtsrb")
    assert str(caught.value) == (
        "prepare gtsrb: data/gtsrb holds 430 training and 43 test images, and the whole GTSRB 26,640 and 12,630: unzipping "
        "was cut off, or files are missing; delete data/gtsrb and run again"
    )
    assert written() == []


def test_a_mirror_of_two_tracks_a_class_is_refused(project):
    labels = np.arange(430) % 43
    images = np.random.default_rng(0).integers(0, 256, (430, 32, 32, 3), np.uint8)
    groups = labels * 10 + (np.arange(430) // 43) % 2
    split = {"x_train": images, "y_train": labels, "x_test": images[:43], "y_test": labels[:43]}
    save_arrays(project / "gtsrb.npz", **split, group_train=groups)
    with pytest.raises(
        SystemExit, match="a group of each class makes validation 50% of the training images; allowed: "
    ):
        run("prepare", prepare, "gtsrb")
    assert written() == []


def test_prepare_of_another_data_set_names_those_allowed(project):
    with pytest.raises(SystemExit, match="prepare: data set 'cifar'; allowed: digits, mnist"):
        run("prepare", prepare, "cifar")
    assert set(CLASSES) == {"digits", *READERS}
