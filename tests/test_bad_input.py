"""Files between the stages that are damaged or of another kind: each stage ends with one line that names the file."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Trap
from safetensors.torch import save_file
from tiny_cell import CLASSIFIER, CNN, DATA, STAGES, finished_project, run_stage, small_params

from defuse.core.random_streams import Streams
from defuse.core.storage import load_arrays, save_arrays
from defuse.models.autoencoder import VAE
from defuse.models.classifiers import build_classifier
from defuse.models.saved_networks import save_network
from defuse.models.weights import load_weights, save_weights

VAE_FILE = Path("artifacts/train_vae/digits/0/vae.safetensors")
FEATURES = Path("artifacts/train_features/digits/features.safetensors")
ORACLE = Path("artifacts/train_oracle/digits/oracle_1.safetensors")
ORACLES = Path("artifacts/calibrate_oracle/digits/oracles.csv")
MISTAKES = Path("artifacts/identify/digits/0/mistakes.npz")
REGIONS, SAMPLES = (Path("artifacts/distill/digits/0") / name for name in ("regions.npz", "samples.npz"))
COLUMNS = "run,annotator,region,image,label"
SHOWN, CAST = Path("artifacts/show_regions/digits/0/shown.npz"), Path("artifacts/vote/digits/0/votes.csv")
VOTES, TABLE = (Path("artifacts/annotate/digits/0") / name for name in ("votes.npz", "regions.csv"))


@pytest.fixture(scope="module")
def finished(shipped_tree, tmp_path_factory):
    """A folder in which every stage of a tiny cell has run."""
    return finished_project(tmp_path_factory.mktemp("finished"), small_params(shipped_tree), STAGES)


@pytest.fixture
def cell(finished, tmp_path, monkeypatch):
    """A copy of the finished cell as current folder; the file to look for if a pickle was executed."""
    shutil.copytree(finished, tmp_path / "cell")
    monkeypatch.chdir(tmp_path / "cell")
    return tmp_path / "executed"


# What makes a file bad. Each takes the path, and where a trap's mark would appear.


def gone(path, _):
    path.unlink()


def truncated(path, _):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def a_pickle(path, mark):
    path.write_bytes(pickle.dumps(Trap(mark)))


def torch_save(path, mark):
    torch.save({"weights": Trap(mark)}, path)


def objects(name):
    def damage(path, mark):
        arrays = load_arrays(path)
        np.savez(path, **{**arrays, name: np.array([Trap(mark)] * len(arrays[name]), object)})

    return damage


def arrays(**changes):
    """Arrays replaced by what a function makes of them; None leaves one out."""

    def damage(path, _):
        held = load_arrays(path)
        for name, change in changes.items():
            old = held.pop(name)
            if change:
                held[name] = change(old)
        save_arrays(path, **held)

    return damage


def all_but_last(array):
    return array[:-1]


def all_but_last_three(array):
    return array[:-3]


def with_nan(array):
    changed = array.astype(array.dtype if array.dtype.kind == "f" else np.float32)
    changed.flat[0] = np.nan
    return changed


def classifier(**changes):
    def damage(path, _):
        network = {**CNN, "channels": 1, "classes": 10, **changes}
        with Streams(0).seeding_torch("tests"):
            save_network(path, build_classifier(**network), **network)

    return damage


def vae(**changes):
    def damage(path, _):
        network = {"channels": 1, "latent_dim": 2, "width": 4, "batch_norm": False, **changes}
        with Streams(0).seeding_torch("tests"):
            save_network(path, VAE(**network), **network)

    return damage


def weights(change=None, **description):
    """Weights changed by a function, or a header that does not describe them."""

    def damage(path, _):
        held, network = load_weights(path)
        if change:
            change(held)
        save_weights(path, held, {**network, **description})

    return damage


def weight_of_nan(held):
    held["1.0.bias"][1] = float("nan")


def without_header(path, _):
    save_file(load_weights(path)[0], path)


def csv(text):
    def damage(path, _):
        path.write_text(text, encoding="utf-8")

    return damage


def without_column(name):
    def damage(path, _):
        rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
        place = rows[0].index(name)
        path.write_text("\n".join(",".join(row[:place] + row[place + 1 :]) for row in rows), encoding="utf-8")

    return damage


def every_third_row(array):
    return array[::3]


CASES = [
    # The prepared data.
    ("train_classifier", DATA, gone, "no such file"),
    ("train_classifier", DATA, truncated, "not a readable .npz of plain arrays"),
    ("train_classifier", DATA, a_pickle, "not a readable .npz of plain arrays (it holds pickled Python objects, which"),
    ("train_classifier", DATA, objects("y_train"), "(it holds pickled Python objects, which are never loaded)"),
    ("train_classifier", DATA, arrays(x_test=None), "arrays missing: x_test; it holds x_train, y_train"),
    (
        "train_classifier",
        DATA,
        arrays(x_train=with_nan),
        "x_train is float32 (24, 32, 32, 1); allowed: uint8 (N, 32, 32, 1 or 3)",
    ),
    ("train_classifier", DATA, arrays(x_train=lambda x: x / 255), "x_train is float64 (24, 32, 32, 1); allowed: uint8"),
    (
        "train_vae",
        DATA,
        arrays(x_validation=lambda x: x.astype(np.int64)),
        "x_validation is int64 (12, 32, 32, 1); allo",
    ),
    (
        "train_vae",
        DATA,
        arrays(x_train=lambda x: x[:, :28, :28]),
        "x_train is uint8 (24, 28, 28, 1); allowed: uint8 (N",
    ),
    (
        "train_vae",
        DATA,
        arrays(x_train=lambda x: x[..., 0]),
        "x_train is uint8 (24, 32, 32); allowed: uint8 (N, 32, 32",
    ),
    (
        "train_vae",
        DATA,
        arrays(x_train=lambda x: np.repeat(x, 4, 3)),
        "x_train is uint8 (24, 32, 32, 4); allowed: uint8",
    ),
    ("train_vae", DATA, arrays(x_train=lambda x: x.transpose(0, 3, 1, 2)), "x_train is uint8 (24, 1, 32, 32); allowed"),
    (
        "train_vae",
        DATA,
        arrays(x_train=lambda x: x[:0], y_train=lambda y: y[:0]),
        "x_train is uint8 (0, 32, 32, 1); al",
    ),
    ("train_oracle", DATA, arrays(y_train=every_third_row), "y_train is int64 (8,); allowed: int64 (24,)"),
    ("calibrate_oracle", DATA, arrays(y_test=with_nan), "y_test is float32 (12,); allowed: int64 (12,)"),
    ("calibrate_oracle", DATA, arrays(y_test=lambda y: y[:, None]), "y_test is int64 (12, 1); allowed: int64 (12,)"),
    ("identify", DATA, arrays(y_train=lambda y: y + 1), "y_train holds 1 to 10; allowed: 0 to 9"),
    ("identify", DATA, arrays(y_train=lambda y: y - 1), "y_train holds -1 to 8; allowed: 0 to 9"),
    ("correct", DATA, truncated, "not a readable .npz of plain arrays"),
    # Networks.
    ("identify", CLASSIFIER, gone, "no such file"),
    ("identify", CLASSIFIER, truncated, "not a safetensors file of this package"),
    ("identify", CLASSIFIER, a_pickle, "not a safetensors file of this package"),
    ("identify", CLASSIFIER, torch_save, "not a safetensors file of this package"),
    ("identify", CLASSIFIER, without_header, "not a safetensors file of this package"),
    (
        "identify",
        CLASSIFIER,
        vae(),
        "weights of another network (",
    ),
    ("identify", CLASSIFIER, weights(architecture="vgg"), "weights of another network (1.1.weight is missing)"),
    ("identify", CLASSIFIER, weights(architecture="alexnet"), "(no classifier 'alexnet' of width 2)"),
    (
        "identify",
        CLASSIFIER,
        weights(width=3),
        "weights of another network (1.0.weight is torch.float32 (2, 1, 3, 3); allowed: torch.float32 (3, 1, 3, 3))",
    ),
    (
        "identify",
        CLASSIFIER,
        weights(lambda held: held.pop("1.0.bias")),
        "weights of another network (1.0.bias is missing)",
    ),
    (
        "identify",
        CLASSIFIER,
        weights(lambda held: held.update(extra=torch.ones(1))),
        "another network (extra is unknown)",
    ),
    ("identify", CLASSIFIER, weights(weight_of_nan), "(1.0.bias holds NaN or infinity; allowed: finite numbers)"),
    ("identify", CLASSIFIER, classifier(classes=3), "weights of another network (classes is 3; allowed: 10)"),
    ("identify", CLASSIFIER, classifier(channels=3), "weights of another network (channels is 3; allowed: 1)"),
    (
        "identify",
        VAE_FILE,
        classifier(),
        "weights of another network (",
    ),
    ("identify", VAE_FILE, vae(channels=3), "weights of another network (channels is 3; allowed: 1)"),
    ("train_vae", FEATURES, gone, "no such file"),
    ("train_vae", FEATURES, a_pickle, "not a safetensors file of this package"),
    ("train_vae", FEATURES, classifier(), "weights of another network (architecture is small_cnn; allowed: vgg)"),
    ("train_vae", FEATURES, classifier(architecture="vgg", channels=3), "(channels is 3; allowed: 1)"),
    ("ablate_vae", FEATURES, classifier(architecture="vgg", classes=43), "(classes is 43; allowed: 10)"),
    ("annotate", ORACLE, gone, "no such file"),
    ("annotate", ORACLE, a_pickle, "not a safetensors file of this package"),
    ("annotate", ORACLE, classifier(classes=43), "weights of another network (classes is 43; allowed: 10)"),
    ("annotate", ORACLE, classifier(channels=3), "weights of another network (channels is 3; allowed: 1)"),
    (
        "annotate",
        ORACLES,
        csv("oracle,architecture\n0,vgg\n"),
        "columns missing: threshold; it has oracle, architecture",
    ),
    ("annotate", ORACLES, csv(""), "no readable table"),
    ("annotate", ORACLES, csv("oracle\n0\n0,1\n"), "no readable table (Error tokenizing data"),
    # Mistakes, regions and votes.
    ("distill", MISTAKES, gone, "no such file"),
    ("distill", MISTAKES, truncated, "not a readable .npz of plain arrays"),
    ("distill", MISTAKES, objects("codes"), "(it holds pickled Python objects, which are never loaded)"),
    ("distill", MISTAKES, arrays(codes=None), "arrays missing: codes; it holds seed_index, label, prediction"),
    ("distill", MISTAKES, arrays(codes=every_third_row), "its arrays differ in length: codes ("),
    ("distill", MISTAKES, arrays(codes=with_nan), "codes holds NaN or infinity; allowed: finite numbers"),
    ("annotate", MISTAKES, arrays(label=None), "arrays missing: label; it holds seed_index, prediction"),
    ("annotate", MISTAKES, arrays(label=every_third_row), "its arrays differ in length: codes ("),
    ("annotate", MISTAKES, arrays(codes=lambda codes: np.repeat(codes, 2, 1)), "codes is float32 ("),
    ("annotate", VAE_FILE, vae(latent_dim=3), "float32 (..., 3), the VAE's latent_dim"),
    ("annotate", REGIONS, arrays(weight=None), "arrays missing: weight; it holds mean, covariance"),
    ("annotate", SAMPLES, arrays(test=None), "arrays missing: test; it holds shown, correction"),
    ("annotate", SAMPLES, arrays(test=with_nan), "test holds NaN or infinity; allowed: finite numbers"),
    ("show_regions", SAMPLES, arrays(shown=with_nan), "shown holds NaN or infinity; allowed: finite numbers"),
    ("show_regions", SAMPLES, arrays(shown=None), "arrays missing: shown; it holds correction"),
    ("show_regions", VAE_FILE, vae(channels=3), "weights of another network (channels is 3; allowed: 1)"),
    ("vote", ORACLE, gone, "no such file"),
    ("vote", SHOWN, gone, "no such file"),
    ("vote", SHOWN, objects("class_names"), "(it holds pickled Python objects, which are never loaded)"),
    ("vote", SHOWN, arrays(images=lambda images: images / 255), "images is float64 ("),
    ("vote", SHOWN, arrays(count=lambda count: count[:-1]), "counts do not add up to its "),
    (
        "annotate",
        SHOWN,
        arrays(class_names=lambda names: names[:1].repeat(2)),
        "class name '0'; allowed: names without",
    ),
    (
        "annotate",
        SHOWN,
        arrays(region=all_but_last, count=all_but_last, images=all_but_last_three),
        "regions.npz of the",
    ),
    ("annotate", CAST, gone, "no such file"),
    ("annotate", CAST, csv(f"{COLUMNS}\n0123456789ab,Ann,0,,1\n"), "line 2: votes of run 0123456789ab; allowed: votes"),
    ("annotate", CAST, csv(""), "line 1: it has nothing; allowed: run, annotator, region, image, label"),
    ("annotate", CAST, csv(f"{COLUMNS}\n"), "no vote; allowed: at least one"),
    ("correct", SAMPLES, arrays(correction=lambda codes: codes[:0]), "samples.npz of the stage distill holds 0"),
    ("correct", TABLE, without_column("verdict"), "columns missing: verdict; it has region, weight, label"),
    ("correct", TABLE, without_column("label"), "columns missing: label; it has region, weight, agreement"),
    ("correct", TABLE, gone, "no such file"),
    ("finetune_baseline", VOTES, arrays(consensus=None), "arrays missing: consensus; it holds shown"),
    ("finetune_baseline", VOTES, arrays(consensus=every_third_row), "its arrays differ in length: drawn"),
    ("novelty", SAMPLES, arrays(test=lambda codes: codes[..., :1]), "test is float32 ("),
    ("summarize_cell", TABLE, without_column("verdict"), "columns missing: verdict"),
    (
        "summarize",
        Path("results/digits/cells/0/digits_regions.csv"),
        without_column("verdict"),
        "columns missing: verdict",
    ),
    ("summarize", Path("results/digits/cells/0/digits_measures.json"), csv("{"), "no readable JSON"),
    ("summarize", VOTES, arrays(cause=None), "arrays missing: cause; it holds shown"),
    ("summarize", MISTAKES, arrays(seed_index=None), "arrays missing: seed_index; it holds label"),
    (
        "summarize_cell",
        Path("artifacts/correct/digits/0/sweep.csv"),
        without_column("chosen"),
        "columns missing: chosen",
    ),
    (
        "summarize_studies",
        Path("artifacts/ablate_noise/digits/0/noise.csv"),
        without_column("noise"),
        "columns missing: noise",
    ),
    ("summarize_studies", Path("artifacts/plant_bugs/digits/0/metrics.json"), csv("{"), "no readable JSON"),
    (
        "summarize",
        Path("results/digits/studies/0/digits_planted.csv"),
        without_column("found"),
        "columns missing: found",
    ),
    ("summarize", Path("results/digits/studies/0/digits_measures.json"), csv("{"), "no readable JSON"),
    ("summarize_cell", Path("artifacts/correct/digits/0/metrics.json"), csv("{"), "no readable JSON"),
    ("summarize_cell", Path("artifacts/novelty/digits/0/metrics.json"), csv("[1]"), "no readable JSON"),
]


@pytest.mark.parametrize(("stage", "path", "damage", "message"), CASES)
def test_bad_files_end_a_stage_with_one_line(cell, stage, path, damage, message):
    damage(path, cell)
    with pytest.raises(SystemExit) as caught:
        run_stage(stage)
    said = str(caught.value)
    assert said.startswith(f"{stage} digits") and "\n" not in said
    assert path.name in said or damage.__qualname__.startswith("vae")
    assert message in said
    assert not cell.exists(), "a pickle was executed"
