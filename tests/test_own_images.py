"""A user's own images: read as torchvision's ImageFolder reads them, from arrays, or refused with what is allowed."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import ImageFolder

from defuse.core.errors import DataError
from defuse.data.own_images import OwnImages, images_from_arrays, read_image_folder, working_images

SIZE = (8, 10)


def picture(side=12, colour=(200, 100, 50), mode="RGB"):
    return Image.new("RGB", (side, side + 2), colour).convert(mode)


@pytest.fixture
def folder(tmp_path):
    """Two classes, ten and two, of pictures of different sizes, and files that are no images by their names."""
    for name, sides in (("10", (12, 20)), ("2", (9, 12, 30))):
        (tmp_path / name / "deeper").mkdir(parents=True)
        for number, side in enumerate(sides):
            place = tmp_path / name / ("deeper" if number else "")
            picture(side, (side, 100, 50)).save(place / f"{number}.png")
    (tmp_path / "2" / "notes.txt").write_text("ignored", encoding="utf-8")
    (tmp_path / "labels.csv").write_text("ignored", encoding="utf-8")
    return tmp_path


def folder_refusal(path, **arguments):
    with pytest.raises(DataError) as caught:
        read_image_folder(path, **{"size": SIZE, "channels": 3, **arguments})
    return str(caught.value)


def read_one(path, image, channels=3, size=(4, 4), **options):
    """The pixels of a picture as the class `a` of a folder holds it, as (height, width, channels)."""
    for name in ("a", "b"):
        (path / name).mkdir(exist_ok=True)
        image.save(path / name / "image.png" if "format" not in options else path / name / "image.tif", **options)
    return read_image_folder(path, size, channels).images[0]


# Folders


def test_a_folder_is_read_as_torchvision_reads_it(folder):
    own, theirs = read_image_folder(folder, SIZE, 3), ImageFolder(folder)
    assert own.class_names == tuple(theirs.classes) == ("10", "2")
    assert own.labels.tolist() == theirs.targets == [0, 0, 1, 1, 1]
    assert own.labels.dtype == np.int64 and own.images.dtype == np.uint8 and own.images.shape == (5, 8, 10, 3)
    expected = [np.asarray(image.resize((10, 8), Image.Resampling.BILINEAR)) for image, _ in theirs]
    assert np.array_equal(own.images, expected)
    assert own.note == "5 images, 9x11 to 30x32 pixels, resized to 10x8"


def test_given_names_set_the_order_of_the_labels(folder):
    own = read_image_folder(folder, SIZE, 3, ["2", "10"])
    assert own.class_names == ("2", "10") and own.labels.tolist() == [1, 1, 0, 0, 0]


def test_what_needs_no_change_is_left_as_it_is(folder, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    for path in folder.rglob("*.png"):
        Image.fromarray(pixels).save(path)
    own = read_image_folder(folder, SIZE, 3)
    assert (own.images == pixels).all() and own.note == "5 images, 10x8 pixels"


def test_colour_and_grey_become_each_other_and_it_is_said(folder):
    picture(12, mode="L").save(folder / "10" / "grey.png")
    assert read_image_folder(folder, SIZE, 3).note.endswith("resized to 10x8, 1 of them from grey to colour")
    grey = read_image_folder(folder, SIZE, 1)
    assert grey.images.shape == (6, 8, 10, 1) and grey.note.endswith("resized to 10x8, 5 of them from colour to grey")
    assert grey.images[1].max() == int(np.asarray(picture(mode="L")).max())


def test_exifs_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (8, 4), "black")
    image.paste("white", (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    pixels = read_one(tmp_path, image, size=(8, 4), exif=exif)
    assert (pixels[:4] == 255).all() and (pixels[4:] == 0).all()


def see_through(mode):
    """A red image of 4x4 whose right half is transparent."""
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 255))
    image.paste((255, 0, 0, 0), (2, 0, 4, 4))
    return image.quantize(4) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(tmp_path, mode):
    pixels = read_one(tmp_path, see_through(mode))
    assert (pixels[:, 2:] == 255).all()
    assert pixels[0, 0].tolist() == ([255, 0, 0] if mode != "LA" else [76, 76, 76])
    assert (read_one(tmp_path, see_through(mode), channels=1)[:, 2:] == 255).all()


def test_palettes_and_a_transparent_colour_are_handled(tmp_path):
    palette = picture(4).quantize(2)
    assert palette.mode == "P" and read_one(tmp_path, palette)[0, 0].tolist() == [200, 100, 50]
    assert (read_one(tmp_path, picture(4), transparency=(200, 100, 50)) == 255).all()
    assert read_one(tmp_path, picture(4, mode="1"), size=(6, 4)).max() == 255


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bits_become_eight(tmp_path, mode):
    values = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    image = Image.fromarray(values.astype(np.int32) if mode == "I" else values)
    assert image.mode == mode
    pixels = read_one(tmp_path, image, channels=1, size=(2, 2), format="TIFF")
    assert pixels[..., 0].tolist() == [[0, 100], [200, 255]]
    assert (read_one(tmp_path, image, size=(2, 2), format="TIFF") == pixels).all()


@pytest.mark.parametrize("highest", [np.float32(1), np.int32(70000)])
def test_pixels_without_a_known_white_are_refused(folder, highest):
    path = folder / "10" / "x.tif"
    Image.fromarray(np.full((2, 2), highest)).save(path)
    message = f"pixels from {highest:.5g} to {highest:.5g}; allowed: 8 bits, or 0 to 65535"
    assert folder_refusal(folder) == f"{path}: no image that can be read (ValueError: {message})"


# Folders that are refused


def test_no_folder_and_no_classes_are_refused(tmp_path):
    allowed = "allowed: a folder with a folder of images for each class"
    assert folder_refusal(tmp_path / "none") == f"{tmp_path}/none: no such folder; {allowed}"
    picture().save(tmp_path / "image.png")
    assert folder_refusal(tmp_path / "image.png").startswith(f"{tmp_path}/image.png: no such folder")
    message = folder_refusal(tmp_path)
    assert message.startswith(f"{tmp_path}: Couldn't find any class folder") and message.lower().endswith(allowed)


def test_one_class_and_a_class_without_images_are_refused(folder):
    (folder / "3").mkdir()
    assert "Found no valid file for the classes 3." in folder_refusal(folder)
    (folder / "3").rmdir()
    for path in sorted((folder / "2").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (folder / "2").rmdir()
    assert folder_refusal(folder) == f"{folder}: 1 class (10); allowed: two or more"


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_file_that_is_no_image_is_named(folder, damage):
    path = folder / "2" / "0.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(path)
    content = {"truncated": path.read_bytes()[:-2000], "text": b"hello", "empty": b""}[damage]
    path.write_bytes(content)
    kind = "OSError: image file is truncated" if damage == "truncated" else "UnidentifiedImageError: cannot identify"
    assert folder_refusal(folder).startswith(f"{path}: no image that can be read ({kind}")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_that_would_fill_the_memory_is_named(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert re.search(r"10/0\.png|10/deeper/1\.png", folder_refusal(folder))


def test_given_names_that_are_not_the_folders_are_refused(folder):
    assert folder_refusal(folder, class_names=["2", "two", "3"]) == (
        f"{folder}: folders of no class: 10; classes without a folder: 3, two; allowed: a folder for each of 2, two, 3"
    )
    assert folder_refusal(folder, class_names=["2", "10", "2"]) == (
        "class_names: 2 more than once; allowed: each class once"
    )


# Arrays


def arrays(count=6, height=5, width=7, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)


def from_arrays(images, labels=(0, 1) * 3, names=("a", "b"), size=(5, 7), channels=3):
    return images_from_arrays(images, np.array(labels), names, size, channels)


def array_refusal(*given, **arguments):
    with pytest.raises(DataError) as caught:
        from_arrays(*given, **arguments)
    return str(caught.value)


def test_arrays_of_all_forms_are_the_same_images():
    images = arrays()
    tensor = torch.from_numpy(images)
    forms = [
        images,
        images.transpose(0, 3, 1, 2),
        images / 255,
        (images / 255).astype(np.float32),
        tensor,
        tensor.permute(0, 3, 1, 2).double() / 255,
        torch.nn.Parameter(tensor.float() / 255),
    ]
    for form in forms:
        own = from_arrays(form)
        assert isinstance(own, OwnImages) and np.array_equal(own.images, images) and own.note == "6 images, 7x5 pixels"
    own = images_from_arrays(torch.ones((2, 5, 7), dtype=torch.bfloat16), [1, 0], ["a", "b"], (5, 7), 1)
    assert own.images.shape == (2, 5, 7, 1) and (own.images == 255).all() and own.labels.tolist() == [1, 0]
    assert own.class_names == ("a", "b")


def test_arrays_are_resized_and_recoloured():
    own = from_arrays(arrays(), size=(3, 4), channels=1)
    expected = [
        np.asarray(Image.fromarray(image).convert("L").resize((4, 3), Image.Resampling.BILINEAR)) for image in arrays()
    ]
    assert np.array_equal(own.images[..., 0], expected)
    assert own.note == "6 images, 7x5 pixels, resized to 4x3, 6 of them from colour to grey"
    grey = from_arrays(arrays(channels=1)[..., 0], channels=3)
    assert (grey.images == arrays(channels=1)).all() and grey.note.endswith("6 of them from grey to colour")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (arrays(height=3), "images have shape (6, 3, 7, 3): which axis is that of the channels? allowed: (N, H, W)"),
        (
            arrays(channels=4),
            "images have shape (6, 5, 7, 4); allowed: (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3",
        ),
        (arrays()[0, 0], "images have shape (7, 3); allowed: (N, H, W)"),
        (arrays(count=0), "images have shape (0, 5, 7, 3); allowed: (N, H, W)"),
        (arrays().astype(np.int64), "images are int64; allowed: uint8, or floating point in [0, 1] (of 0 to 255: "),
        (arrays().astype(bool), "images are bool; allowed: uint8, or floating point in [0, 1]"),
        (arrays().astype(np.float32), "image 0 (from 0) holds "),
        (
            np.where(np.arange(6)[:, None, None, None] == 4, -0.25, arrays() / 255),
            "image 4 (from 0) holds -0.25 to -0.25; ",
        ),
        (
            np.where(np.arange(6)[:, None, None, None] == 2, np.nan, arrays() / 255),
            "image 2 (from 0) holds NaN or infin",
        ),
    ],
)
def test_arrays_that_are_no_images_are_refused(images, message):
    assert array_refusal(images).startswith(message)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            (0, 1, 0, 2, 2, 0),
            "label 2 of image 3 (from 0) is no class; allowed: 0 to 1 for 2 class names (2 labels are ",
        ),
        ((0, 1, 0, 1, -1, 0), "label -1 of image 4 (from 0) is no class; allowed: 0 to 1"),
        ((0, 1, 0, 1, 0), "5 labels of 6 images; allowed: one for each"),
        ((0.0, 1.0, 0.0, 1.0, 1.0, 0.0), "labels are float64 of shape (6,); allowed: whole numbers (N,)"),
        (((1, 0),) * 6, "labels are int64 of shape (6, 2); allowed: whole numbers (N,)"),
        ((0,) * 6, "no image of b; allowed: classes with images"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    assert array_refusal(arrays(), labels).startswith(message)


def test_one_class_name_and_an_empty_one_are_refused():
    assert array_refusal(arrays(), names=["a"]) == "class_names: 1 class (a); allowed: two or more"
    assert array_refusal(arrays(), names=["a", " "]) == "class_names: ' '; allowed: names with letters or digits"


# For the autoencoder


@given(st.sampled_from([1, 3]), st.integers(1, 5), st.integers(1, 5))
def test_working_images_keep_what_has_the_size_and_the_mean_of_what_shrinks(channels, height, width):
    images = arrays(2, 4 * height, 4 * width, channels)
    own = OwnImages(images, np.array([0, 1]), ("a", "b"), "")
    shrunk = working_images(own, 4)
    assert shrunk.shape == (2, channels, 4, 4) and shrunk.dtype == torch.float32
    assert shrunk.min() >= 0 and shrunk.max() <= 1 + 1e-6
    if height == width == 1:
        assert torch.equal(shrunk, torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
    flat = OwnImages(np.full_like(images, 51), own.labels, own.class_names, "")
    torch.testing.assert_close(working_images(flat, 9), torch.full((2, channels, 9, 9), 0.2))
