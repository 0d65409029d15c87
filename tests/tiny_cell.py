"""A whole cell of the digits in seconds: 48 random images, the smallest networks, one epoch, two regions."""

import copy
import importlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from defuse.core.storage import load_arrays, save_arrays, write_json
from defuse.models.classifiers import build_classifier
from defuse.models.saved_networks import load_network, save_network
from experiments.shared.command import run

CNN = {"architecture": "small_cnn", "width": 2, "stem": None}
DATA = Path("artifacts/prepare/digits/data.npz")
CLASSIFIER = Path("artifacts/train_classifier/digits/0/classifier.safetensors")
# Stages in their order: the function that does the work, and whether it runs for a seed.
STAGES = {
    "train_classifier": ("train", True),
    "train_features": ("train", False),
    "train_vae": ("train", True),
    "train_released_vae": ("train", True),
    "train_oracle": ("train", False),
    "train_checker": ("train", False),
    "calibrate_oracle": ("calibrate", False),
    "identify": ("identify", True),
    "ablate_noise": ("ablate", True),
    "ablate_search": ("ablate", True),
    "ablate_vae": ("ablate", True),
    "distill": ("distill", True),
    "show_regions": ("show_regions", True),
    "vote": ("vote", True),
    "annotate": ("annotate", True),
    "ablate_regions": ("ablate", True),
    "correct": ("sweep", True),
    "finetune_baseline": ("baseline", True),
    "compare_readings": ("compare", True),
    "novelty": ("novelty", True),
    "plant_bugs": ("plant_bugs", True),
    "summarize_cell": ("summarize_cell", True),
    "summarize_studies": ("summarize_studies", True),
    "summarize": ("summarize", False),
}
TRAINING = (
    *("train_classifier", "train_features", "train_vae", "train_released_vae"),
    *("train_oracle", "train_checker", "calibrate_oracle", "plant_bugs"),
)
BEFORE_READINGS = (
    *("train_classifier", "train_features", "train_vae", "train_released_vae", "train_oracle", "train_checker"),
    *("calibrate_oracle", "identify", "distill", "show_regions", "vote", "annotate"),
)
SMALL = {
    "train_classifier": {"network": CNN, "epochs": 1, "batch_size": 8},
    "train_features": {"width": 2, "epochs": 1, "batch_size": 8},
    "train_vae": {"latent_dim": 2, "width": 4, "epochs": 1, "batch_size": 8},
    "train_released_vae": {"latent_dim": 2, "width": 4, "epochs": 1, "batch_size": 8},
    "train_oracle": {"networks": [CNN] * 3, "epochs": 1, "batch_size": 8},
    "train_checker": {"network": CNN, "epochs": 1, "batch_size": 8},
    "calibrate_oracle": {"originals_recognised": 0.99},
    "identify": {"draws": 4, "keep": 4, "max_seed_images": None},
    "distill": {
        "components": 3,
        "fit_codes": 40,
        "shown_samples": 3,
        "correction_samples": 4,
        "validation_samples": 4,
        "test_samples": 5,
        "include_reconstruction_failures": True,
    },
    # Every region is accepted.
    "annotate": {
        "annotated_mistakes": 10,
        "minimum_agreement": 0.0,
        "consensus": 0.6,
        "maximum_abstention": 1.0,
        "minimum_failures": 0.0,
        "slip_rate": 0.5,
    },
    "plant_bugs": {
        "network": CNN,
        "epochs": 1,
        "strengths": [1.0],
        "seed_images": 12,
        "minimum_members": 1,
        "kmeans_starts": 1,
        "bugs": {
            "bright_4": {
                "label": 4,
                "property": "brightness",
                "side": "high",
                "share": 0.5,
                "kind": "mislabelled",
                "target": 9,
            }
        },
    },
    "correct": {"lambdas": [0, 1], "steps": 2, "batch_size": 4},
    "finetune_baseline": {"steps": 2, "batch_size": 4},
    "ablate_noise": {"seed_images": 6, "draws": 2},
    # What an untrained checker says of blends and originals is chance: it must keep something.
    "compare_readings": {
        "kmeans_starts": 1,
        "seed_images": 24,
        "judged_mistakes": 10,
        "measured_images": 3,
        "minimum_members": 4,
        "blends_passed": 0.9,
        "minimum_originals": 0.0,
        "maximum_blends": 1.0,
    },
    "ablate_search": {"seed_images": 6, "judged_mistakes": 5},
    "ablate_vae": {
        "seed_images": 6,
        "judged_mistakes": 5,
        "arms": {"small": {"latent_dim": 2, "width": 4, "likelihood": "gaussian", "feature_weight": 10.0}},
    },
    "ablate_regions": {"samples": 3, "components": [2], "concentration_priors": [None], "taus": [0.01, 1.0]},
    "summarize": {"tsne_codes": 10},
}


def small_params(shipped: dict[str, Any], **changes: dict[str, Any]) -> dict[str, Any]:
    """The shipped parameters of the digits alone, made small; `changes` holds more, by stage."""
    tree = copy.deepcopy({**shipped, "datasets": ["digits"], "seeds": [0], "study_seeds": [0]})
    tree["compute"]["precision"] = "float32"  # what closing lines say must not depend on the processor
    for stage, part in tree.items():
        if isinstance(part, dict) and "digits" in part:
            tree[stage] = {"digits": {**part["digits"], **SMALL.get(stage, {}), **changes.get(stage, {})}}
    return tree


def run_stage(stage: str) -> None:
    """Run one stage of the cell in the current folder, as its command does."""
    name, with_seed = STAGES[stage]
    work = getattr(importlib.import_module(f"experiments.{stage}"), name)
    run(stage, work, "digits", 0 if with_seed else None)


def write_project(folder: Path, tree: dict[str, Any]) -> None:
    """Parameters and prepared data in `folder`, which becomes the current one."""
    os.chdir(folder)
    Path("params.yaml").write_text(json.dumps(tree), encoding="utf-8")
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 24), ("validation", 12), ("test", 12)):
        arrays[f"x_{split}"] = generator.integers(0, 256, (count, 32, 32, 1), np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 10
    save_arrays(DATA, **arrays)
    about = {"dataset": "digits", "slug": "digits", "title": "Tiny", "line": "tiny", "channels": 1}
    write_json(DATA.with_name("provenance.json"), about)


def finished_project(folder: Path, tree: dict[str, Any], stages: Iterable[str]) -> Path:
    """A project in `folder` in which these stages have run; the current folder stays."""
    before = Path.cwd()
    try:
        write_project(folder, tree)
        for stage in stages:
            run_stage(stage)
    finally:
        os.chdir(before)
    return folder


def relabel(label: int) -> None:
    """Give every prepared image one label."""
    arrays = load_arrays(DATA)
    save_arrays(
        DATA, **{name: np.full_like(array, label) if name[0] == "y" else array for name, array in arrays.items()}
    )


def always_say(label: int) -> None:
    """Make the classifier answer `label` to every image."""
    classifier = load_network(CLASSIFIER, build_classifier)
    with torch.no_grad():
        classifier[-1][-1].bias[label] += 1000
    save_network(CLASSIFIER, classifier, **CNN, channels=1, classes=10)
