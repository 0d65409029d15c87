"""The autoencoder by the released code's settings: what it is, and that the main chain's training makes it."""

import json
from pathlib import Path

import pytest
import tiny_cell

from defuse.core.errors import ParamsError
from defuse.core.params_file import load_params
from defuse.core.storage import read_json, read_table
from defuse.models import autoencoder_training
from defuse.models.autoencoder import VAE
from defuse.models.saved_networks import load_network
from experiments.shared.command import checked_params

FOLDER = Path("artifacts/train_released_vae/digits/0")


@pytest.fixture(scope="module")
def released(shipped_tree, tmp_path_factory):
    """A project where this stage alone has run: no network of a feature term is there."""
    folder = tmp_path_factory.mktemp("released")
    return tiny_cell.finished_project(folder, tiny_cell.small_params(shipped_tree), ["train_released_vae"])


def test_it_needs_no_network_of_a_feature_term_and_writes_what_train_vae_does(released):
    folder = released / FOLDER
    files = ["curve.csv", "kl_per_dimension.csv", "metrics.json", "vae.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == files
    curve, measures = read_table(folder / "curve.csv"), read_json(folder / "metrics.json")
    assert "feature_distance" not in curve
    assert measures["validation_squared_error"] == pytest.approx(curve.squared_error.iloc[-1], rel=1e-6)
    load_network(folder / "vae.safetensors", VAE, channels=1, latent_dim=2, width=4)


def test_its_settings_are_the_released_code_s(shipped_tree):
    shipped = shipped_tree["train_released_vae"]
    of_the_code = {"likelihood": "ssim", "optimizer": "adam", "learning_rate": 0.001}
    of_the_code |= {"weight_decay": 1e-5, "batch_size": 64, "schedule": "constant", "feature_weight": 0.0}
    for name in ("digits", "mnist", "svhn", "gtsrb"):
        assert of_the_code.items() <= shipped[name].items()
        assert shipped[name]["beta"] == 0  # the released KL term has no gradient into the posterior
        assert shipped[name]["latent_dim"] == (15 if name == "gtsrb" else 10)


def test_its_random_streams_are_not_the_main_chain_s(shipped_tree, released, tmp_path):
    tree = tiny_cell.small_params(shipped_tree)
    tree["train_vae"]["digits"] = tree["train_released_vae"]["digits"]
    project = tiny_cell.finished_project(tmp_path, tree, ["train_features", "train_vae"])
    chain, own = (
        load_network(path / "vae.safetensors", VAE).state_dict()
        for path in (project / "artifacts/train_vae/digits/0", released / FOLDER)
    )
    assert chain.keys() == own.keys() and not all(own[name].equal(chain[name]) for name in own)


def test_an_interrupted_training_goes_on_from_its_checkpoint(shipped_tree, released, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_cell.write_project(tmp_path, tiny_cell.small_params(shipped_tree, train_released_vae={"epochs": 3}))
    tiny_cell.run_stage("train_released_vae")
    whole, epochs = (FOLDER / "vae.safetensors").read_bytes(), []

    def measured(*arguments):
        if len(epochs) == 2:
            raise KeyboardInterrupt
        epochs.append(arguments)
        return found(*arguments)

    found = autoencoder_training.measure
    with monkeypatch.context() as patch:
        patch.setattr(autoencoder_training, "measure", measured)
        with pytest.raises(KeyboardInterrupt):
            tiny_cell.run_stage("train_released_vae")
    (FOLDER / "vae.safetensors").unlink()
    rows = []
    monkeypatch.setattr(autoencoder_training, "measure", lambda *given: rows.append(given) or found(*given))
    tiny_cell.run_stage("train_released_vae")
    assert len(rows) == 1 and (FOLDER / "vae.safetensors").read_bytes() == whole
    assert not Path("artifacts/checkpoints/train_released_vae/digits/0").exists()


def test_it_runs_for_the_seeds_of_the_studies(shipped_tree, tmp_path, monkeypatch):
    tree = {**tiny_cell.small_params(shipped_tree), "seeds": [0, 1], "study_seeds": [1]}
    (tmp_path / "params.yaml").write_text(json.dumps(tree), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert checked_params("train_released_vae", "digits", 1) == load_params(Path("params.yaml"))
    with pytest.raises(ParamsError, match="seed 0; allowed: 1"):
        checked_params("train_released_vae", "digits", 0)
