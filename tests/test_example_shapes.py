"""The worked example's own data and classifier, with few pictures: folders that are right, a network that is not."""

import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

from defuse.data.own_images import read_image_folder
from defuse.models.own_classifier import OwnClassifier


@pytest.fixture
def shapes(monkeypatch):
    """The script as a module that draws few pictures."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "example"))
    import shapes

    monkeypatch.setattr(shapes, "COUNTS", {"train": 10, "test": 3})
    monkeypatch.setattr(shapes, "RARE", {"train": 3, "test": 1})
    yield shapes
    sys.modules.pop("shapes", None)


def opened(file):
    """A picture of a file that is closed again."""
    with Image.open(file) as picture:
        return picture.copy()


def is_red(picture):
    """Whether the most colourful pixel of a picture is red."""
    pixels = np.asarray(picture.reduce(4), np.int64).reshape(-1, 3)
    red, green, blue = pixels[np.ptp(pixels, axis=1).argmax()]
    return red > 1.8 * max(green, blue)


def test_folders_hold_pictures_of_mixed_sizes_and_few_red_triangles(shapes, tmp_path):
    drawn = shapes.draw_folders(tmp_path, 0)
    for split, count in (("train", 10), ("test", 3)):
        own = read_image_folder(tmp_path / split, (40, 40), 3)
        images, labels, in_bug = drawn[split]
        assert own.class_names == shapes.CLASSES and own.labels.tolist() == labels.tolist()
        assert np.array_equal(own.images, images) and len(labels) == 5 * count
        pictures = [opened(file) for file in sorted((tmp_path / split).rglob("*.png"))]
        red = [is_red(picture) for picture in pictures]
        triangles = labels == 4
        assert [is_a and is_triangle for is_a, is_triangle in zip(red, triangles)] == in_bug.tolist()
        assert in_bug.sum() == shapes.RARE[split]
        sides = {side for picture in pictures for side in picture.size}
        assert 28 <= min(sides) < 36 and 52 < max(sides) <= 60


def test_the_script_writes_what_its_classifier_reads(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["shapes.py", str(tmp_path), "--seed", "3"])
    with torch.random.fork_rng():
        shapes.main()
    printed = capsys.readouterr().out
    assert "of the test images are right" in printed and "of 200 new red triangles" in printed
    monkeypatch.setenv("SHAPES", str(tmp_path))
    with torch.random.fork_rng():
        own = shapes.classifier()
    assert isinstance(own, OwnClassifier) and own.size == (40, 40) and own.can_be_tuned
    images, labels = shapes.bug_images(5, 0)
    assert all(is_red(Image.fromarray(image)) for image in images) and labels.tolist() == [4] * 5
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        torch.testing.assert_close(own(inputs), own.network(shapes.normalised(images)))
    assert not np.array_equal(images, shapes.bug_images(5, 1)[0])
