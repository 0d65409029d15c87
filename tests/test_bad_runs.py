"""Bad mirrors, memory that runs out, and commands as a user types them: one line, an exit code, no traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Trap
from tiny_cell import STAGES, finished_project, run_stage, small_params

from defuse.data.sources import to_side
from experiments.prepare import prepare
from experiments.shared.command import run

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def annotated(shipped_tree, tmp_path_factory):
    """A tiny project in which every stage up to the annotation has run."""
    stages = list(STAGES)[: list(STAGES).index("correct")]
    return finished_project(tmp_path_factory.mktemp("annotated"), small_params(shipped_tree), stages)


@pytest.fixture
def project(annotated, tmp_path, monkeypatch):
    """A copy of that project as current folder."""
    shutil.copytree(annotated, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def message_of(work, *arguments):
    with pytest.raises(SystemExit) as caught:
        work(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Mirrors


def with_nan(images):
    images = images.astype(np.float32)
    images[0, 0, 0, 0] = np.nan
    return images


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x_train", with_nan, "x_train is float32 (120, 32, 32, 1); allowed: uint8 (N, H, W, 1 or 3)"),
        ("x_train", lambda x: x[:, :0], "x_train is uint8 (120, 0, 32, 1); allowed: uint8 (N, H, W, 1 or 3)"),
        ("x_test", lambda x: x[..., 0], "x_test is uint8 (20, 32, 32); allowed: uint8 (N, H, W, 1 or 3)"),
        ("x_test", lambda x: x.astype(np.int32), "x_test is int32 (20, 32, 32, 1); allowed: uint8 (N, H, W, 1 or 3)"),
        ("y_train", lambda y: y * np.nan, "y_train is float64 (120,); allowed: int64 (120,)"),
        ("y_train", lambda y: y[1:], "y_train is int64 (119,); allowed: int64 (120,)"),
        ("y_train", lambda y: y + 1, "y_train holds 1 to 10; allowed: 0 to 9"),
        ("y_train", lambda y: y % 9, "y_train has no image of class 9"),
        ("y_test", lambda y: y * 0, "y_test has no image of class 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        ("y_train", lambda y: y * 0, "y_train has no image of class 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        ("group_train", lambda group: group[1:], "group_train is (119,); allowed: (120,)"),
        ("group_train", lambda group: group * np.nan, "group_train is float64; allowed: int64"),
        ("group_train", lambda group: group * 0, "training images cannot be split with validation_fraction 0.1: "),
        (
            "group_train",
            lambda group: group.astype(str).astype(object),
            "it holds pickled Python objects, which are never",
        ),
    ],
)
def test_bad_mirrors_are_refused_by_file_and_array(shipped_tree, tmp_path, monkeypatch, name, change, message):
    generator, path = np.random.default_rng(0), tmp_path / "mnist.npz"
    arrays = {
        "x_train": generator.integers(0, 256, (120, 32, 32, 1), np.uint8),
        "y_train": np.arange(120) % 10,
        "x_test": generator.integers(0, 256, (20, 32, 32, 1), np.uint8),
        "y_test": np.arange(20) % 10,
        "group_train": np.arange(120) // 2,
    }
    np.savez(path, **{**arrays, name: change(arrays[name])})
    (tmp_path / "params.yaml").write_text(json.dumps(shipped_tree), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEFUSE_DATA_DIR", str(tmp_path))
    said = message_of(run, "prepare", prepare, "mnist")
    assert said.startswith("prepare mnist: ") and message in said
    assert str(path) in said or "cannot be split" in said
    assert not (tmp_path / "artifacts").exists()


def test_images_of_one_row_are_resized():
    assert to_side(np.full((2, 1, 5, 1), 7, np.uint8)).tolist() == np.full((2, 32, 32, 1), 7).tolist()


def test_digits_that_cannot_be_split_are_said(shipped_tree, tmp_path, monkeypatch):
    tree = small_params(shipped_tree, prepare={"test_fraction": 0.001})
    (tmp_path / "params.yaml").write_text(json.dumps(tree), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    said = message_of(run, "prepare", prepare, "digits")
    assert said.startswith("prepare digits: digits cannot be split with test_fraction 0.001: The test_size = 2 should")


# Memory


HUGE = 10**15  # no machine has so much


@pytest.mark.parametrize(
    ("stage", "key", "other"),
    [
        ("identify", ("identify", "draws"), "identify.digits.batch_size (now auto)"),
        ("ablate_noise", ("ablate_noise", "draws"), "ablate_noise.digits.seed_images (now 6)"),
        ("distill", ("distill", "correction_samples"), "distill.digits.components (now 3)"),
        ("correct", ("correct", "batch_size"), "distill.digits.correction_samples (now 4)"),
        ("finetune_baseline", ("finetune_baseline", "batch_size"), "annotate.digits.annotated_mistakes (now 10)"),
    ],
)
def test_what_fits_into_no_memory_names_its_parameter(project, shipped_tree, stage, key, other):
    changed = small_params(shipped_tree)
    changed[key[0]]["digits"][key[1]] = HUGE
    Path("params.yaml").write_text(json.dumps(changed), encoding="utf-8")
    said = message_of(run_stage, stage)
    assert said.startswith(f"{stage} digits seed 0: out of memory; lower ")
    assert f"{key[0]}.digits.{key[1]} (now {HUGE})" in said and other in said
    assert said.endswith(" in params.yaml, or run fewer stages at once")


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 15.9 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory: you tried to"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError("Unable to allocate 7.11 PiB for an array with shape (1000000000000000,) and data type float64"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    ("stage", "advice"),
    [
        ("train_classifier", "lower train_classifier.digits.batch_size (now 8) in params.yaml"),
        ("train_vae", "lower train_vae.digits.batch_size (now 8) in params.yaml"),
        ("train_released_vae", "lower train_released_vae.digits.batch_size (now 8) in params.yaml"),
        ("train_features", "lower train_features.digits.batch_size (now 8) in params.yaml"),
        ("train_checker", "lower train_checker.digits.batch_size (now 8) in params.yaml"),
        ("train_oracle", "lower train_oracle.digits.batch_size (now 8) in params.yaml"),
        (
            "annotate",
            "lower distill.digits.test_samples (now 5) or annotate.digits.annotated_mistakes (now 10) in params",
        ),
        (
            "ablate_search",
            "lower ablate_search.digits.seed_images (now 6) or ablate_search.digits.judged_mistakes (now 5)",
        ),
        (
            "ablate_vae",
            "lower train_vae.digits.batch_size (now 8) or ablate_vae.digits.seed_images (now 6) in params.yaml",
        ),
        ("ablate_regions", "lower distill.digits.fit_codes (now 40) or ablate_regions.digits.samples (now 3)"),
        (
            "compare_readings",
            "lower correct.digits.batch_size (now 4) or distill.digits.fit_codes (now 40) or compare_readings",
        ),
        ("novelty", "lower novelty.digits.samples (now 10) or distill.digits.test_samples (now 5) in params.yaml"),
        ("summarize", "lower summarize.digits.tsne_codes (now 10) in params.yaml"),
        ("prepare", "no parameter lowers what this stage takes"),
        ("figures", "no parameter lowers what this stage takes"),
    ],
)
def test_every_kind_of_memory_error_is_told_by_every_stage(project, stage, advice, error):
    def work(*_):
        raise error

    seed = STAGES.get(stage, ("", False))[1]
    said = message_of(run, stage, work, "digits", 0 if seed else None)
    assert said.startswith(f"{stage} digits{' seed 0' if seed else ''}: out of memory; {advice}")


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyError("label")])
def test_other_errors_keep_their_traceback(project, error):
    def work(*_):
        raise error

    with pytest.raises(type(error)):
        run("identify", work, "digits", 0)


# Commands


def bad_params(_):
    """Bad values of the stage's own part, of a stage after it, and misspelt keys."""
    tree = json.loads(Path("params.yaml").read_text(encoding="utf-8"))
    tree["train_classifier"]["digits"]["epochs"], tree["correct"]["digits"]["steps"] = 0, -1
    tree["train_vae"]["digits"]["latent_dims"] = 8
    tree["compute"]["thread"] = tree["compute"].pop("threads")
    Path("params.yaml").write_text(json.dumps(tree), encoding="utf-8")


def pickled(mark):
    np.savez("artifacts/prepare/digits/data.npz", x_train=np.array([Trap(mark)], object), y_train=np.zeros(1, int))


@pytest.mark.parametrize(
    ("command", "damage", "messages"),
    [
        ("train_classifier digits 7", None, ["train_classifier digits seed 7: train_classifier: seed 7; allowed: 0"]),
        ("train_classifier digits zero", None, ["valid integer"]),
        (
            "train_classifier digits 0",
            bad_params,
            [
                "params.yaml: train_classifier.digits.epochs: 0 is not allowed: Input should be greater than or equal to 1",
                "params.yaml: compute.threads: this key is missing",
                "compute.thread: unknown key; did you mean threads?",
                "correct.digits.steps: -1",
                "train_vae.digits.latent_dims: unknown key; did you mean latent_dim?",
            ],
        ),
        (
            "train_classifier digits 0",
            pickled,
            ["data.npz: not a readable .npz of plain arrays (it holds pickled Python objects, which are never loaded)"],
        ),
    ],
)
def test_commands_end_with_a_message_and_an_exit_code(project, tmp_path, command, damage, messages):
    mark = tmp_path / "executed"
    if damage:
        damage(mark)
    done = subprocess.run(
        [sys.executable, "-m", *f"experiments.{command}".split()],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert all(message in done.stderr for message in messages), done.stderr
    assert not mark.exists()
