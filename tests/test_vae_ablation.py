"""The ablation of the autoencoder: each arm trained as the main chain's is, and the main chain's beside them."""

import json
from pathlib import Path

import pytest
import tiny_cell

from defuse.core.errors import ParamsError
from defuse.core.params_file import load_params
from defuse.core.storage import read_json, read_table
from defuse.models import autoencoder_training
from experiments.shared import vae_training

TABLE = Path("artifacts/ablate_vae/digits/0/vaes.csv")
CHECKPOINTS = Path("artifacts/checkpoints/ablate_vae/digits/0")
ARMS = {
    "latent_3": {"latent_dim": 3, "width": 4, "likelihood": "bernoulli", "feature_weight": 0.0},
    "feature_term": {"latent_dim": 2, "width": 4, "likelihood": "gaussian", "feature_weight": 10.0},
}
NETWORKS = ("train_classifier", "train_features", "train_vae", "train_oracle", "calibrate_oracle")


@pytest.fixture(scope="module")
def trained(shipped_tree, tmp_path_factory):
    tree = tiny_cell.small_params(shipped_tree, train_vae={"epochs": 2}, ablate_vae={"arms": ARMS})
    return tiny_cell.finished_project(tmp_path_factory.mktemp("vaes"), tree, NETWORKS)


@pytest.fixture
def trainings(trained, monkeypatch):
    """The stage has run in the project; what it handed to each training."""
    monkeypatch.chdir(trained)
    handed = {}

    def watched(vae, images, validation, settings, *arguments):
        handed[settings.latent_dim, settings.feature_weight] = (len(images), settings)
        return found(vae, images, validation, settings, *arguments)

    found = vae_training.train_vae
    monkeypatch.setattr(vae_training, "train_vae", watched)
    tiny_cell.run_stage("ablate_vae")
    return handed


def test_the_main_chain_s_own_is_the_first_row_and_not_trained_again(trainings):
    assert list(trainings) == [(3, 0.0), (2, 10.0)]
    table = read_table(TABLE)
    assert table.vae.tolist() == ["train_vae", "latent_3", "feature_term"]
    assert table.loc[0, ["latent_dim", "width", "likelihood", "feature_weight"]].tolist() == [2, 4, "bernoulli", 0.0]
    chain = Path("artifacts/train_vae/digits/0")
    measures, last = read_json(chain / "metrics.json"), read_table(chain / "curve.csv").iloc[-1]
    assert table.squared_error[0] == pytest.approx(measures["validation_squared_error"], rel=1e-5)
    assert table.kl[0] == pytest.approx(measures["validation_kl"], rel=1e-4)
    assert table.feature_distance[0] == pytest.approx(last.feature_distance, rel=1e-5)


def test_every_arm_trains_as_the_main_chain_does_but_for_what_is_its_own(trainings):
    chain = load_params(Path("params.yaml")).train_vae["digits"]
    for (images, settings), arm in zip(trainings.values(), ARMS.values(), strict=True):
        assert images == len(tiny_cell.load_arrays(tiny_cell.DATA)["y_train"])
        assert settings.model_dump() == {**chain.model_dump(), **arm}


def test_an_interrupted_ablation_trains_no_finished_epoch_again(trainings, monkeypatch):
    whole, epochs = TABLE.read_bytes(), []
    found = autoencoder_training.measure

    def interrupted(*arguments):
        if len(epochs) == 3:  # both of the first arm, one of the second
            raise KeyboardInterrupt
        epochs.append(arguments)
        return found(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(autoencoder_training, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny_cell.run_stage("ablate_vae")
    assert sorted(path.stem for path in CHECKPOINTS.iterdir()) == ["vae_feature_term", "vae_latent_3"]
    TABLE.unlink()
    rest = []
    monkeypatch.setattr(autoencoder_training, "measure", lambda *given: rest.append(given) or found(*given))
    tiny_cell.run_stage("ablate_vae")
    assert len(rest) == 1 and TABLE.read_bytes() == whole and not CHECKPOINTS.exists()


def test_the_main_chain_s_name_is_left_to_it(trained, tmp_path):
    tree = json.loads((trained / "params.yaml").read_text(encoding="utf-8"))
    tree["ablate_vae"]["digits"]["arms"] = {"train_vae": ARMS["latent_3"]}
    (tmp_path / "params.yaml").write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(ParamsError, match=r"arms: .* Input should hold no train_vae: under that name stands the main"):
        load_params(tmp_path / "params.yaml")
