"""The pipeline file and the layout: imports run one way, files fit in one reading, each params key is used."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "defuse").rglob("*.py"))
SCRIPTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "experiments").glob("*.py"))
SHARED = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "experiments").glob("*/*.py"))
# Each room of the library, and those that it may import.
BELOW = {"core": set(), "data": {"core"}}
BELOW["models"] = {"data"} | BELOW["data"]
BELOW["method"] = {"models"} | BELOW["models"]
BELOW["annotators"] = {"method"} | BELOW["method"]
BELOW["studies"] = {"annotators"} | BELOW["annotators"]
BELOW["evidence"] = {"annotators"} | BELOW["annotators"]
BELOW["showing"] = {"evidence"} | BELOW["evidence"]
BELOW["debugging"] = {"showing", "studies"} | BELOW["showing"]


def imported(file: str) -> set[tuple[str, ...]]:
    """Modules of ours that a file imports anywhere in it, as the parts of their names."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {(*str(node.module).split("."), alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
    return {parts for parts in found if parts[0] in ("defuse", "experiments", "tests", "benchmarks")}


@pytest.mark.parametrize("module", [name for name in MODULES if name.count("/") > 1])
def test_imports_of_the_library_run_one_way(module):
    room = module.split("/")[1]
    for parts in imported(module):
        assert parts[0] == "defuse", f"{module} imports {'.'.join(parts)}"
        assert parts[1] in BELOW[room] | {room}, f"{module} imports {'.'.join(parts)}"


def test_the_rooms_are_those_of_the_library():
    assert {name.split("/")[1] for name in MODULES if name.count("/") > 1} == BELOW.keys()
    assert [name for name in MODULES if name.count("/") == 1] == ["defuse/__init__.py"]
    assert all(parts[0] == "defuse" for parts in imported("defuse/__init__.py"))


def test_what_stages_share_knows_no_stage():
    """Helpers and the runner import no stage; of the stages, `demo` alone imports others."""
    stages = {Path(name).stem for name in SCRIPTS} - {"__init__"}
    for name in (*SHARED, *(script for script in SCRIPTS if script != "experiments/demo.py")):
        known = [parts for parts in imported(name) if parts[0] == "experiments" and parts[1] in stages]
        assert not known, f"{name} imports {known}"


def test_files_fit_in_one_reading():
    def longer(names, most):
        lengths = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in names}
        return {name: length for name, length in lengths.items() if length > most}

    assert longer([*MODULES, *SHARED], 400) == {}
    assert longer(SCRIPTS, 100) == {}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_code_and_on_no_other(stage):
    deps, command = STAGES[stage]["deps"], STAGES[stage]["cmd"].split()
    assert command[:3] == ["python", "-m", f"experiments.{stage}"]
    if stage == "code":
        assert deps == ["defuse", "experiments", "notebooks"]
    else:
        assert deps[0] == f"results/code/{stage}.txt"
        code = [dep for dep in deps[1:] if dep.startswith(("defuse", "experiments", "results/code"))]
        assert code == [dep for dep in deps[1:] if dep == "defuse/showing/templates"]


def test_each_params_key_is_a_dependency_of_a_stage():
    listed = {param.partition(".")[0] for stage in STAGES.values() for param in stage.get("params", [])}
    assert set(YAML(typ="safe").load(ROOT / "params.yaml")) == listed | {"datasets"}


def test_studies_run_for_their_own_seeds():
    matrices = {name: stage["matrix"]["seed"] for name, stage in STAGES.items() if "seed" in stage.get("matrix", {})}
    studies = {"ablate_noise", "ablate_regions", "ablate_search", "ablate_vae", "compare_readings", "plant_bugs"}
    studies |= {"train_released_vae"}
    assert {name for name, seeds in matrices.items() if seeds == "${study_seeds}"} == studies | {"summarize_studies"}
    assert {seeds for seeds in matrices.values()} == {"${seeds}", "${study_seeds}"}
    # A study may read the chain's outputs of its seed, the chain none of a study's.
    for name, seeds in matrices.items():
        read = {dep.split("/")[1] for dep in STAGES[name]["deps"] if dep.startswith("artifacts/")}
        assert seeds == "${study_seeds}" or not read & studies, name


def test_notebooks_hold_no_method():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        assert "show_figure(" in text
        assert not any(word in text for word in ("torch", "sklearn", "experiments", '"execution_count": 1'))
