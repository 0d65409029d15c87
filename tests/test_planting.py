"""Planting: properties on images made by hand, subgroups, and exactly the images and labels that a bug touches."""

import numpy as np
import pytest
import tiny_cell
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from defuse.core import params
from defuse.core.errors import PlantingError
from defuse.core.params_file import load_params
from defuse.core.random_streams import Streams
from defuse.core.storage import load_arrays, read_table
from defuse.data.sources import read_digits
from defuse.data.splits import prepare_arrays, split_validation
from defuse.models.autoencoder import VAE
from defuse.models.autoencoder_training import train_vae
from defuse.models.evaluation import predict
from defuse.models.machine import Machine
from defuse.models.subject import Subject
from defuse.studies.planting import (
    belongs_to_bug,
    find_subgroup,
    in_subgroup,
    measure_property,
    plant,
    planted_classifier,
    property_bound,
    slant,
    thickness,
    touched_images,
)
from defuse.studies.recovery import bug_rows, cluster_arms

USED = ("train_vae", "train_classifier", "identify", "distill", "plant_bugs")


def bug(**changes):
    return params.PlantedBug(
        **{
            "label": 1,
            "property": "brightness",
            "side": "high",
            "share": 0.3,
            "kind": "mislabelled",
            "target": 2,
            **changes,
        }
    )


def bar(width):
    """A vertical bar from border to border, `width` pixels wide."""
    image = np.zeros((32, 32))
    image[:, 10 : 10 + width] = 1
    return image


@pytest.mark.parametrize(("width", "mean_distance"), [(1, 1), (2, 1), (3, 4 / 3), (4, 3 / 2), (5, 9 / 5)])
def test_thickness_of_a_bar_is_the_mean_distance_to_its_sides(width, mean_distance):
    image = np.zeros((200, 32))  # so long that its ends hardly count
    image[:, 10 : 10 + width] = 1
    assert thickness(image) == pytest.approx(mean_distance, abs=0.03)
    assert thickness(0.3 * image) == thickness(image)  # ink is relative to the brightest pixel


def test_faint_pixels_are_no_ink():
    image = bar(1)
    image[:, [9, 11]] = 0.49
    assert thickness(image) == 1
    image[:, [9, 11]] = 0.5
    assert thickness(image) == thickness(bar(3)) > 1.25


def test_a_full_image_ends_at_its_border():
    assert thickness(np.ones((3, 3))) == pytest.approx((8 * 1 + 2) / 9)


@pytest.mark.parametrize("shift", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_slant_is_pixels_to_the_right_per_pixel_upwards(shift):
    image = np.zeros((32, 32))
    for row in range(8, 25, 2):
        image[row, 16 - int(shift * (row - 16))] = 0.7
    assert slant(image) == pytest.approx(shift)


def test_an_empty_image_has_no_thickness_and_no_slant():
    assert thickness(np.zeros((32, 32))) == 0 and slant(np.zeros((32, 32))) == 0
    assert slant(np.ones((1, 32))) == 0  # one row has no height


def test_brightness_and_contrast_are_of_the_mean_over_channels():
    image = torch.zeros((1, 3, 32, 32))
    image[0, 0, :, :16] = 0.9
    assert measure_property(image, "brightness") == pytest.approx([0.15])
    assert measure_property(image, "contrast") == pytest.approx([0.15])


def graded(labels):
    """Images (N, 1, 32, 32), each of one grey: 0, 0.01, 0.02, ... in order."""
    labels = torch.tensor(labels)
    return torch.arange(len(labels))[:, None, None, None].float().div(100).expand(-1, 1, 32, 32), labels


@pytest.mark.parametrize(("side", "expected"), [("high", [17, 18, 19]), ("low", [10, 11, 12])])
def test_the_subgroup_is_one_end_of_the_labels_images(side, expected):
    data = graded([0] * 10 + [1] * 10 + [2] * 10)
    subgroup = find_subgroup(data, data, bug(side=side))
    assert np.flatnonzero(subgroup.training).tolist() == expected
    assert np.flatnonzero(subgroup.test).tolist() == expected


def test_test_images_are_held_against_the_training_images_bound():
    training, test = graded([0, 1, 1, 1, 1, 2]), graded([1, 1, 1, 1, 1, 1, 0])
    bound = property_bound(*training, bug(share=0.5))
    assert bound == pytest.approx(0.025)
    assert np.flatnonzero(in_subgroup(*test, bug(share=0.5), bound)).tolist() == [3, 4, 5]


@pytest.mark.parametrize(("changes", "named"), [({"label": 7}, "label: 7"), ({"target": 8}, "target: 8")])
def test_a_class_without_images_is_refused(changes, named):
    with pytest.raises(PlantingError, match=f"{named} is not allowed.*labels are \\[0, 1, 2\\]"):
        find_subgroup(graded([0, 1, 2]), graded([0, 1, 2]), bug(**changes))


@given(st.integers(1, 40), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_larger_strength_touches_more_of_the_same_images(size, first, second):
    subgroup = np.arange(60) % 60 >= 60 - size
    small, large = (
        set(touched_images(subgroup, strength, np.random.default_rng(1)).tolist())
        for strength in sorted((first, second))
    )
    assert small <= large <= set(np.flatnonzero(subgroup).tolist())
    assert len(small) == round(min(first, second) * size)


def test_mislabelling_changes_just_the_labels_touched():
    images, labels = graded([0, 1, 1, 1, 2])
    planted_images, planted = plant(images, labels, np.array([1, 3]), bug())
    assert planted.tolist() == [0, 2, 1, 2, 2] and labels.tolist() == [0, 1, 1, 1, 2]
    assert torch.equal(planted_images, images)


def test_leaving_out_removes_just_the_images_touched():
    images, labels = graded([0, 1, 1, 1, 2])
    kept, kept_labels = plant(images, labels, np.array([1, 3]), bug(kind="left_out", target=None))
    assert torch.equal(kept, images[[0, 2, 4]]) and kept_labels.tolist() == [0, 1, 2] and len(labels) == 5


def test_the_control_trains_on_the_data_as_they_are():
    images, labels = graded([0, 1])
    planted = plant(images, labels, np.zeros(0, np.int64), None)
    assert planted[0] is images and planted[1] is labels


def test_a_mistake_belongs_by_its_seed_and_where_mislabelled_by_the_planted_label():
    inside, predictions = np.array([True, True, False]), np.array([2, 0, 2])
    assert belongs_to_bug(inside, predictions, bug()).tolist() == [True, False, False]
    left_out = bug(kind="left_out", target=None)
    assert belongs_to_bug(inside, predictions, left_out).tolist() == [True, True, False]


def test_the_reconstruction_control_keeps_a_bug_planted_in_real_digits():
    """End to end: a bug is planted, learnt, searched for and found; its seed images are wrong before the search."""
    source = read_digits(0.25, 0)
    arrays = prepare_arrays(source, split_validation(source, 0.15, 0))

    def labelled(split, count):
        images = torch.from_numpy(arrays[f"x_{split}"][:count]).permute(0, 3, 1, 2).float() / 255
        return images, torch.from_numpy(arrays[f"y_{split}"][:count])

    training, validation, test = labelled("train", 600), labelled("validation", 60), labelled("test", 200)
    machine = Machine(torch.device("cpu"), torch.float32, torch.channels_last, compiled=False)
    settings, streams = load_params(ROOT / "params.yaml"), Streams(0, ("planted",))
    chosen = {name: getattr(settings, name)["digits"] for name in USED}
    planted = bug(label=4, property="slant", share=0.5, target=9)
    subgroup = find_subgroup(training, test, planted)
    with streams.seeding_torch("weights"):
        vae = VAE(channels=1, latent_dim=8, width=8, batch_norm=True)
    short = chosen["train_vae"].model_copy(update={"epochs": 12})
    train_vae(vae, training[0], validation[0], short, machine, streams.torch("VAE"), 0, "VAE")
    classifier = planted_classifier(
        {"architecture": "small_cnn", "width": 8, "stem": None, "channels": 1, "classes": 10},
        plant(*training, np.flatnonzero(subgroup.training), planted),
        validation,
        chosen["train_classifier"].model_copy(update={"epochs": 8}),
        machine,
        streams,
        "classifier",
    )
    arms, seeds = cluster_arms(
        Subject(classifier, vae, machine),
        {"train": training, "test": test},
        np.arange(600),
        chosen["identify"].model_copy(update={"draws": 10}),
        chosen["distill"].model_copy(update={"components": 12}),
        1,
        streams,
        "search",
    )
    right = (predict(classifier, test[0]).argmax(1) == test[1]).numpy()
    rows = bug_rows(arms, seeds, right, subgroup, planted, chosen["plant_bugs"])[0]
    kept, everything = ({row["arm"]: row for row in rows}[arm] for arm in ("mixture", "mixture of all mistakes"))
    assert kept["bug_mistakes"] >= 0.9 * everything["bug_mistakes"] > 40 and kept["found"] == 1
    mistakes = arms["mixture of all mistakes"]
    own = belongs_to_bug(subgroup.training[mistakes.image], mistakes.prediction, planted)
    wrong_reconstructed = seeds.reconstruction_prediction != seeds.label
    assert wrong_reconstructed[mistakes.image][own].mean() > 0.5  # all of these left before


FIVE = ["mixture", "k-means", "mixture of all mistakes", "k-means of all mistakes", "mixture of test mistakes"]


def test_the_readings_are_arms_of_the_control_and_of_full_strength_alone(tmp_path, shipped_tree, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {**tiny_cell.SMALL["plant_bugs"], "strengths": [0.5, 1.0]}
    tiny_cell.write_project(tmp_path, tiny_cell.small_params(shipped_tree, plant_bugs=small))
    for stage in ("train_features", "train_vae", "train_released_vae", "train_checker", "plant_bugs"):
        tiny_cell.run_stage(stage)
    folder = tmp_path / "artifacts/plant_bugs/digits/0"
    table = read_table(folder / "planted.csv")
    readings = ["released", "repaired", "no search"]
    assert {strength: group.arm.tolist() for strength, group in table.groupby("strength")} == {
        0.0: FIVE + readings,
        0.5: FIVE,
        1.0: FIVE + readings,
    }
    described = table[table.arm == "mixture of all mistakes"].set_index("strength").regions  # as the tiny cell distils
    of_readings = table[table.arm.isin(readings)]
    assert (of_readings.regions <= of_readings.strength.map(described)).all()
    assert load_arrays(folder / "examples.npz")["arm"].tolist() == ["mixture", "repaired"]
