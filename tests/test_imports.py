"""A stage imports what it uses: no stage waits for a package that another one needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
STAGES = list(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])

# Imported in the functions that need them, if at all.
NOWHERE = (
    "torchvision",
    "torch._dynamo",
    "torchmetrics",
    "sklearn",
    "scipy.stats",
    "statsmodels",
    "matplotlib",
    "seaborn",
)
TABLES = ("summarize", "summarize_cell", "summarize_studies", "compare_by_eye", "figures", "atlas", "claims")
# What the import of each kind of stage may not load, and the stages that are of this kind.
KINDS = {
    "tables": (("torch", *NOWHERE), [*TABLES, "front_page"]),
    "arrays": (("torch", "pandas", "PIL", *NOWHERE), ["code", "prepare", "distill"]),
    "networks": (
        ("pandas", "PIL", "papermill", "jinja2", *NOWHERE),
        [
            *("train_classifier", "train_features", "train_vae", "train_released_vae"),
            *("train_oracle", "train_checker", "calibrate_oracle", "identify", "vote", "annotate"),
            *("correct", "finetune_baseline", "novelty", "compare_readings", "plant_bugs"),
            *("ablate_noise", "ablate_search", "ablate_vae", "ablate_regions"),
        ],
    ),
    "everything": (NOWHERE, ["demo", "show_regions"]),
    "no stage": (("torch", *NOWHERE), ["replicate", "verify", "show_demo", "bundle", "unbundle"]),
}
IMPORT_IN_TURN = """
import importlib, json, sys
forbidden, modules = json.loads(sys.argv[1])
for module in modules:
    before = {name for name in forbidden if name in sys.modules}
    importlib.import_module(module)
    loaded = sorted(name for name in forbidden if name in sys.modules and name not in before)
    if loaded:
        print(f"{module} loads {', '.join(loaded)}")
"""


def complaints(forbidden, modules):
    """Which of `modules`, imported one after the other in a new process, is the first to load what is forbidden."""
    command = [sys.executable, "-c", IMPORT_IN_TURN, json.dumps([forbidden, modules])]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout


@pytest.mark.parametrize("kind", KINDS)
def test_importing_a_stage_loads_only_what_its_kind_needs(kind):
    forbidden, stages = KINDS[kind]
    assert complaints(forbidden, [f"experiments.{stage}" for stage in stages]) == ""


def test_each_stage_is_of_one_kind():
    listed = [stage for kind, (_, stages) in KINDS.items() if kind != "no stage" for stage in stages]
    assert sorted(listed) == sorted(STAGES)


def test_the_commands_load_what_takes_time_when_they_run():
    modules = [f"defuse.debugging.{path.stem}" for path in sorted((ROOT / "defuse" / "debugging").glob("[a-z]*.py"))]
    assert complaints(("torch", "numpy", "pydantic", "rich", *NOWHERE), ["defuse.debugging.commands"]) == ""
    assert complaints(("pandas", "PIL", "jinja2", *NOWHERE), modules) == ""


def test_what_a_stage_loads_is_seen():
    assert complaints(["colorsys", "wave", "json"], ["colorsys", "string"]) == "colorsys loads colorsys\n"
