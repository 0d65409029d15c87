"""Tiny images, tiny networks, and a guard of the global random state."""

import copy
import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.mixture  # noqa: F401  its import draws from Python's global generator, which no test may change
import torch
from hypothesis import settings as hypothesis_settings
from jaxtyping import install_import_hook
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Error as BrowserError
from ruamel.yaml import YAML
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `experiments` is no installed package
install_import_hook("defuse", "shape_checks.checked")  # before anything of it is imported

from defuse.core.params import Augmentation  # noqa: E402
from defuse.core.random_streams import Streams  # noqa: E402
from defuse.models.autoencoder import VAE  # noqa: E402
from defuse.models.classifiers import build_classifier  # noqa: E402
from defuse.models.machine import Machine  # noqa: E402
from experiments.running.pipeline import Graph, not_up_to_date, opened  # noqa: E402

# The clone is made for the first and wanted by the third, while another worker has the second.
LONGEST = ("worked_example", "pipeline", "replication", "crashes", "cluster", "vae", "nothing_found")
DIGITS = ("atlas@digits", "compare_by_eye@digits")  # the last stages of the digits
CUT_DOWN = {
    ("train_features", "epochs"): 2,
    ("train_vae", "epochs"): 12,
    ("train_released_vae", "epochs"): 1,
    ("train_released_vae", "width"): 8,
    ("train_oracle", "epochs"): 6,
    ("train_checker", "epochs"): 6,
    ("identify", "max_seed_images"): 300,
    ("identify", "draws"): 6,
    ("distill", "components"): 6,
    ("distill", "test_samples"): 40,
    ("annotate", "annotated_mistakes"): 80,
    ("annotate", "minimum_agreement"): 0.0,
    ("annotate", "maximum_abstention"): 1.0,
    ("annotate", "minimum_failures"): 0.0,
    ("correct", "lambdas"): [0.0, 0.1],
    ("correct", "steps"): 25,
    ("finetune_baseline", "steps"): 5,
    ("ablate_noise", "seed_images"): 40,
    ("summarize", "tsne_codes"): 60,
    ("plant_bugs", "epochs"): 2,
    ("ablate_search", "seed_images"): 20,
    ("ablate_vae", "seed_images"): 60,
    ("ablate_vae", "arms"): {
        "small": {"latent_dim": 2, "width": 8, "likelihood": "bernoulli", "feature_weight": 100.0},
    },
    ("ablate_regions", "components"): [6],
    ("ablate_regions", "samples"): 10,
    ("compare_readings", "lambdas"): [0.1, 1.0],
    ("plant_bugs", "strengths"): [1.0],
    ("plant_bugs", "seed_images"): 150,
}
PLANTED = ("thick_4_mislabelled", "slanted_9_left_out")  # a bug of each kind

torch.set_num_threads(1)
hypothesis_settings.register_profile("defuse", deadline=None, max_examples=40, derandomize=True, database=None)
hypothesis_settings.load_profile("defuse")


class Trap:
    """Creates a file when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.fixture(autouse=True)
def global_random_state_is_left_alone() -> Iterator[None]:
    """Fail a test after which Python's, NumPy's or torch's global generator is in another state."""

    def numpy_state() -> tuple[Any, ...]:
        return np.random.get_state()  # noqa: NPY002 (the state that is guarded)

    python, numpy, torch_state = random.getstate(), numpy_state(), torch.get_rng_state()
    yield
    changed = [
        name
        for name, same in (
            ("random", random.getstate() == python),
            ("numpy.random", all(np.array_equal(new, old) for new, old in zip(numpy_state(), numpy))),
            ("torch", torch.equal(torch.get_rng_state(), torch_state)),
        )
        if not same
    ]
    assert not changed, f"global random state changed: {', '.join(changed)}"


@pytest.fixture(scope="session")
def shipped_tree() -> dict[str, Any]:
    """What the shipped `params.yaml` holds, each value its own object; not to be changed."""
    return json.loads(json.dumps(YAML(typ="safe").load(ROOT / "params.yaml")))


@pytest.fixture
def tree(shipped_tree: dict[str, Any]) -> dict[str, Any]:
    """A copy of `params.yaml`'s content, to change freely, for the digits alone."""
    content = copy.deepcopy({**shipped_tree, "datasets": ["digits"], "seeds": [0], "study_seeds": [0]})
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
        path.write_text(json.dumps(content).replace("NaN", ".nan").replace("Infinity", ".inf"), encoding="utf-8")
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
        with Streams(seed).seeding_torch("tests"):
            return build_classifier(**network)

    return make


@pytest.fixture
def make_vae() -> Callable[..., VAE]:
    """Function that builds a VAE, by default a tiny one, from its own random state."""

    def make(seed: int = 0, **changes: Any) -> VAE:
        network = {"channels": 1, "latent_dim": 2, "width": 4, "batch_norm": False, **changes}
        with Streams(seed).seeding_torch("tests"):
            return VAE(**network)

    return make


def run(folder: Path, *command: str) -> str:
    """Run a command of the environment in `folder`; its output, or a failure that shows it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    environment.pop("DEFUSE_DATA_DIR", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def edit(folder: Path, changes: dict[tuple[str, ...], object]) -> None:
    """Change values of `params.yaml`, comments kept."""
    yaml = YAML()
    content = yaml.load(folder / "params.yaml")
    for (*path, last), value in changes.items():
        tree = content
        for key in path:
            tree = tree[key]
        tree[last] = value
    yaml.dump(content, folder / "params.yaml")


def waiting_stages(folder: Path, graph: Graph) -> Graph:
    """The stages of `graph` that DVC would look at again."""
    with opened(folder) as repo:
        return not_up_to_date(repo, graph)


def cut_down_clone(folder: Path) -> Path:
    """A clone of the digits' first seed whose params are cut down, after one `dvc repro`."""
    run(ROOT, "git", "clone", "--quiet", "--no-hardlinks", ".", str(folder))
    shipped = YAML(typ="safe").load(folder / "params.yaml")
    oracles, bugs = shipped["train_oracle"]["digits"]["networks"], shipped["plant_bugs"]["digits"]["bugs"]
    fewer = {
        ("train_oracle", "digits", "networks"): [dict(oracles[0]) for _ in range(3)],
        ("plant_bugs", "digits", "bugs"): {name: bugs[name] for name in PLANTED},
    }
    changes = {(stage, "digits", key): value for (stage, key), value in CUT_DOWN.items()}
    one_cell = {("datasets",): ["digits"], ("seeds",): [0], ("study_seeds",): [0]}
    edit(folder, {**changes, **fewer, **one_cell})
    shutil.rmtree(folder / "results" / "digits", ignore_errors=True)  # of other seeds
    (folder / "dvc.lock").unlink()  # DVC reads and writes it whole at each stage, and all data sets make it long
    run(folder, "dvc", "repro", *DIGITS)
    return folder


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a cut-down clone that one of pytest-xdist's workers makes for all."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with open(shared / "clone.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "clone").exists():
            cut_down_clone(own / "unfinished").rename(shared / "clone")
    return Path(shutil.copytree(shared / "clone", own / "defuse", symlinks=True))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small finished run on a classifier of one's own, from `made_run`; not to be changed."""
    import made_run

    return made_run.find(tmp_path_factory.mktemp("finished") / "bugs")


@pytest.fixture
def run_folder(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of it, to change freely."""
    return Path(shutil.copytree(finished_run, tmp_path / "bugs"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the system or of Playwright; where neither can be had, the tests are skipped."""
    with sync_playwright() as playwright:
        try:
            own = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=own, args=["--no-sandbox"])
        except BrowserError as error:
            pytest.skip(f"no Chromium: install it, or run playwright install chromium ({str(error).splitlines()[0]})")
        yield browser
        browser.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that no worker is left alone with one at the end."""
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
