"""The pipeline file: dependencies are exact, imports run one way, stages stay thin."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "defuse").glob("*.py"))


def imported(file: str) -> set[str]:
    """Files of ours that a file imports directly."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {name.replace(".", "/") + ".py" for name in names}
    return {name for name in found if (ROOT / name).is_file()}


def reached(file: str) -> set[str]:
    """Files of ours that a file needs, itself included."""
    seen, waiting = set(), [file]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += imported(current)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_just_the_code_that_it_uses(stage):
    listed = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")}
    needed = reached(f"experiments/{stage}.py") - {
        "defuse/core/params.py",
        "defuse/core/params_file.py",
        "defuse/core/errors.py",
    }
    if stage == "figures":
        # the notebooks import them
        needed |= {name for name in MODULES if name.endswith("plots.py")}
    assert listed == needed


@pytest.mark.parametrize("module", MODULES)
def test_the_library_never_imports_the_experiments(module):
    assert not [name for name in imported(module) if not name.startswith("defuse/")]


def test_params_and_storage_import_nothing_of_ours():
    assert imported("defuse/params.py") == set() and imported("defuse/storage.py") == set()


def test_modules_fit_in_one_reading():
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in MODULES}
    assert max(lengths.values()) <= 400, lengths
    scripts = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "experiments").glob("*.py")}
    assert max(scripts.values()) <= 100, scripts


def test_each_params_key_is_a_dependency_of_a_stage():
    listed = {param.partition(".")[0] for stage in STAGES.values() for param in stage.get("params", [])}
    keys = set(YAML(typ="safe").load(ROOT / "params.yaml"))
    assert keys == listed | {"datasets"}


def test_notebooks_hold_no_method():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text = path.read_text()
        assert "plots.drawn(" in text
        assert not any(word in text for word in ("torch", "sklearn", "experiments", '"execution_count": 1'))
