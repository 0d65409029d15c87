"""The checker: a network trained like an annotator, and none of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_cell

from defuse.core.errors import StorageError
from defuse.core.params_file import load_params
from defuse.core.storage import read_json, read_table
from defuse.models.classifiers import build_classifier
from defuse.models.evaluation import accuracy
from defuse.models.saved_networks import load_network, save_network
from defuse.models.training import train_classifier
from experiments.shared import network_training
from experiments.shared.cell import Cell
from experiments.shared.network_training import load_training
from experiments.shared.trained import checker_file, load_checker

ORACLES = Path("artifacts/train_oracle/digits")


@pytest.fixture(scope="module")
def trained(shipped_tree, tmp_path_factory):
    tree = tiny_cell.small_params(shipped_tree)
    return tiny_cell.finished_project(tmp_path_factory.mktemp("checker"), tree, ("train_oracle", "train_checker"))


@pytest.fixture
def cell(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return Cell(load_params(Path("params.yaml")), "train_checker", "digits")


def test_the_stage_writes_a_network_its_curve_and_its_accuracy(cell, machine):
    folder = checker_file(cell).parent
    assert sorted(path.name for path in folder.iterdir()) == ["checker.safetensors", "curve.csv", "metrics.json"]
    reached = read_json(folder / "metrics.json")["validation_accuracy"]
    assert read_table(folder / "curve.csv").validation_accuracy.iloc[-1] == pytest.approx(reached, rel=1e-6)
    assert accuracy(load_checker(cell, machine), *load_training(cell)["validation"]) == pytest.approx(reached)


def test_the_checker_is_no_annotator(cell, machine):
    """Trained by the same settings, it has random streams of its own."""
    oracles = [load_network(ORACLES / f"oracle_{index}.safetensors", build_classifier) for index in range(3)]
    weights = [network[1][0].weight.detach().numpy() for network in (load_checker(cell, machine), *oracles)]
    assert len({array.tobytes() for array in weights}) == 4


def test_the_checker_trains_with_distortions_and_blends_on_training_images(cell, monkeypatch, tmp_path):
    handed = []

    def watched(*arguments, **keywords):
        handed.append((arguments, keywords))
        return train_classifier(*arguments, **keywords)

    monkeypatch.setattr(network_training, "train_classifier", watched)
    tiny_cell.write_project(tmp_path, json.loads(Path("params.yaml").read_text(encoding="utf-8")))
    tiny_cell.run_stage("train_checker")
    ((_, training, validation, chosen, *_), keywords) = handed[0]
    assert keywords["blend_fraction"] == chosen.blend_fraction == 0.25 and chosen.augmentation.elastic > 0
    arrays = tiny_cell.load_arrays(tiny_cell.DATA)
    for split, (images, _) in (("train", training), ("validation", validation)):
        assert np.array_equal((images.numpy() * 255).round()[:, 0], arrays[f"x_{split}"][..., 0])


@pytest.mark.parametrize(("change", "said"), [({"channels": 3}, "channels is 3"), ({"classes": 43}, "classes is 43")])
def test_a_checker_of_other_images_is_refused(cell, machine, make_classifier, monkeypatch, tmp_path, change, said):
    other = {**tiny_cell.CNN, "channels": 1, "classes": 10, **change}
    save_network(tmp_path / "checker.safetensors", make_classifier(**other), **other)
    monkeypatch.setattr("experiments.shared.trained.checker_file", lambda _: tmp_path / "checker.safetensors")
    with pytest.raises(StorageError, match=said):
        load_checker(cell, machine)


def test_the_shipped_checker_is_as_large_as_an_annotator_and_trains_as_long(shipped_tree):
    for name, chosen in shipped_tree["train_checker"].items():
        oracles = shipped_tree["train_oracle"][name]
        shared = {key: value for key, value in oracles.items() if key != "networks"}
        assert {**chosen, "network": None} == {**shared, "network": None}
        assert name == "default" or chosen["network"] == oracles["networks"][0]
