"""Tiny images, tiny networks, and a guard of the global random state."""

import copy
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings as hypothesis_settings
from ruamel.yaml import YAML
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `experiments` is no installed package

from defuse.networks import VAE, build_classifier  # noqa: E402
from defuse.params import Augmentation  # noqa: E402
from defuse.randomness import seeded_torch  # noqa: E402
from defuse.training import Machine  # noqa: E402

torch.set_num_threads(1)
hypothesis_settings.register_profile("defuse", deadline=None, max_examples=40, derandomize=True, database=None)
hypothesis_settings.load_profile("defuse")


@pytest.fixture(autouse=True)
def global_random_state_is_left_alone() -> Iterator[None]:
    """Fail a test after which Python's, NumPy's or torch's global generator is in another state."""
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    changed = [
        name
        for name, same in (
            ("random", random.getstate() == python),
            ("numpy.random", all(np.array_equal(new, old) for new, old in zip(np.random.get_state(), numpy))),
            ("torch", torch.equal(torch.get_rng_state(), torch_state)),
        )
        if not same
    ]
    assert not changed, f"global random state changed: {', '.join(changed)}"


@pytest.fixture(scope="session")
def shipped_tree() -> dict[str, Any]:
    """What the shipped `params.yaml` holds; not to be changed."""
    return YAML(typ="safe").load(ROOT / "params.yaml")


@pytest.fixture
def tree(shipped_tree: dict[str, Any]) -> dict[str, Any]:
    """A copy of `params.yaml`'s content, to change freely, for the digits alone."""
    content = copy.deepcopy({**shipped_tree, "datasets": ["digits"], "seeds": [0]})
    for stage, part in content.items():
        if isinstance(part, dict) and "digits" in part:
            content[stage] = {"digits": part["digits"]}
    # Without dots in names, a dotted path leads to one place.
    noises = content["ablate_noise"]["digits"]["noises"]
    content["ablate_noise"]["digits"]["noises"] = {name.replace(".", "_"): noise for name, noise in noises.items()}
    return content


@pytest.fixture
def write_params(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Function that writes a tree as `params.yaml` (JSON is YAML) into the test's folder."""

    def write(content: dict[str, Any]) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf"))
        return path

    return write


@pytest.fixture
def still() -> Augmentation:
    """Augmentation that changes nothing."""
    return Augmentation(rotation=0, translation=0, scaling=0, elastic=0, blur=0, contrast=0, brightness=0)


@pytest.fixture
def machine() -> Machine:
    return Machine(torch.device("cpu"), torch.float32, torch.channels_last, compiled=False)


@pytest.fixture
def images() -> Tensor:
    """24 random images float32 (24, 1, 32, 32) in [0, 1]."""
    return torch.rand((24, 1, 32, 32), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def make_classifier() -> Callable[..., torch.nn.Sequential]:
    """Function that builds a classifier, by default a tiny one, from its own random state."""

    def make(seed: int = 0, **changes: Any) -> torch.nn.Sequential:
        network = {"architecture": "small_cnn", "channels": 1, "classes": 3, "width": 2, "stem": None, **changes}
        with seeded_torch(seed, "tests"):
            return build_classifier(**network)

    return make


@pytest.fixture
def make_vae() -> Callable[..., VAE]:
    """Function that builds a VAE, by default a tiny one, from its own random state."""

    def make(seed: int = 0, **changes: Any) -> VAE:
        network = {"channels": 1, "latent_dim": 2, "width": 4, "batch_norm": False, **changes}
        with seeded_torch(seed, "tests"):
            return VAE(**network)

    return make
