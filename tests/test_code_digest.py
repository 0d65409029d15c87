"""The code that can run in a stage: an edit reruns the stages that can see it, and no other."""

import ast
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from defuse.core.errors import PipelineError
from experiments.running.code_digest import stage_digests

SMALL = {
    "dvc.yaml": "stages:\n  one: {deps: [], params: [one.x]}\n  two: {deps: [], params: [two.x.rate]}\n",
    "defuse/__init__.py": "",
    "defuse/core/__init__.py": "",
    "defuse/core/params.py": """
from typing import Annotated

class Params: ...
Rate = Annotated[float, "above 0"]

class One(Params):
    size: int

class Two(Params):
    rate: Rate

class Settings(Params):
    one: dict[str, One]
    two: dict[str, Two]

    @validated("two")
    def is_good(cls, two):
        return two

    @validated("*")
    def knows_all(cls, value):
        return value
""",
    "defuse/core/tools.py": """
import numpy as np
SIZE = 3
OTHER = 4

def area(side):
    return side * SIZE

def volume(side):
    return area(side) * side if side else volume(side + 1)

def mean(values):
    return np.mean(values)
""",
    "experiments/__init__.py": """
def check_folder():
    print("hint")

def print_anything():
    print("hint")

check_folder()
""",
    "experiments/running/__init__.py": "",
    "experiments/running/code_digest.py": "def running_code(stage):\n    return stage\n",
    "experiments/cell.py": """
from defuse.core.params import Settings
from defuse.core.tools import OTHER

class Cell:
    settings: Settings

    @property
    def folder(self):
        return OTHER

    def unused(self):
        return 1
""",
    "experiments/command.py": "def command(stage, work):\n    print('hint')\n    work(stage)\n",
    "experiments/one.py": """
from defuse.core.tools import area
from experiments.cell import Cell
from experiments.command import command

def work(cell: Cell):
    return area(2) + cell.folder

if __name__ == "__main__":
    command("one", work)
""",
    "experiments/two.py": """
from defuse.core import tools
from experiments.command import command

def work(settings):
    from defuse.core.tools import mean as average
    return tools.volume(1) + average([1, 2])

if __name__ == "__main__":
    command("two", work)
""",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project of two stages."""
    for name, text in SMALL.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def changed(before: dict[str, str], root: Path) -> set[str]:
    """The stages whose digest is another one."""
    after = stage_digests(root)
    assert before.keys() == after.keys()
    return {stage for stage in before if before[stage] != after[stage]}


def replace(root: Path, name: str, old: str, new: str) -> None:
    """Change one place of a file."""
    path = root / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def names(text: str) -> list[str]:
    return [line[18:] for line in text.splitlines()[1:]]


def test_a_digest_lists_the_definitions_that_can_run(small):
    digests = stage_digests(small)
    assert names(digests["one"]) == [
        "Cell",
        "Cell.folder",
        "OTHER",
        "One",
        "Params",
        "SIZE",
        "Settings.one",
        "area",
        "statement",
        "work",
    ]
    assert names(digests["two"]) == [
        *("Params", "Rate", "SIZE", "Settings.two", "Two", "area", "mean", "statement", "volume", "work")
    ]
    assert digests["one"].startswith(digests["one"][:16] + "  all that can run in one\n")


EDITS = {
    "comment": ("defuse/core/tools.py", "SIZE = 3", "SIZE = 3  # of a side", set()),
    "docstring": ("defuse/core/tools.py", "    return side * SIZE", '    """Area."""\n    return side * SIZE', set()),
    "formatting": (
        "defuse/core/tools.py",
        "return side * SIZE",
        "return (\n        side\n        * SIZE\n    )",
        set(),
    ),
    "annotation of a function": (
        "defuse/core/tools.py",
        "def area(side):",
        "def area(side: \"Float[Tensor, 'n']\") -> float:",
        set(),
    ),
    "annotation of a variable": ("defuse/core/tools.py", "SIZE = 3", "SIZE: int = 3", set()),
    "numbers and strings in other words": ("defuse/core/params.py", '"above 0"', "'above ' '0'", set()),
    "definition that nothing names": ("defuse/core/tools.py", "SIZE = 3", "SIZE = 3\nUNUSED = 5", set()),
    "order of definitions": ("defuse/core/tools.py", "SIZE = 3\nOTHER = 4", "OTHER = 4\nSIZE = 3", set()),
    "alias of an import": ("defuse/core/tools.py", "import numpy as np", "import numpy\nnp = numpy", {"two"}),
    "constant": ("defuse/core/tools.py", "SIZE = 3", "SIZE = 4", {"one", "two"}),
    "type of a constant": ("defuse/core/tools.py", "SIZE = 3", "SIZE = 3.0", {"one", "two"}),
    "default": ("defuse/core/tools.py", "def volume(side)", "def volume(side=1)", {"two"}),
    "kind of an argument": ("defuse/core/tools.py", "def volume(side)", "def volume(*, side)", {"two"}),
    "decorator": ("defuse/core/tools.py", "def volume", "@np.vectorize\ndef volume", {"two"}),
    "external name": ("defuse/core/tools.py", "np.mean(", "np.median(", {"two"}),
    "external module": ("defuse/core/tools.py", "import numpy as np", "import cupy as np", {"two"}),
    "import inside of a function": ("experiments/two.py", "import mean as average", "import area as average", {"two"}),
    "method of an argument that the stage does not use": ("experiments/cell.py", "return 1", "return 2", set()),
    "method of an argument": ("experiments/cell.py", "return OTHER", "return -OTHER", {"one"}),
    "annotation of a class": ("experiments/cell.py", "settings: Settings", "settings: Settings\n    x: int", {"one"}),
    "model": ("defuse/core/params.py", "size: int", "size: float", {"one"}),
    "type of a model": ("defuse/core/params.py", "above 0", "above 1", {"two"}),
    "validator of a key": ("defuse/core/params.py", "return two", "return None", {"two"}),
    "validator of all": ("defuse/core/params.py", "return value", "return None", set()),
    "command line": ("experiments/command.py", "hint", "other hint", set()),
    "check before anything runs": (
        "experiments/__init__.py",
        'check_folder():\n    print("hint',
        'check_folder():\n    print("',
        set(),
    ),
    "what runs before anything": ("experiments/__init__.py", "\ncheck_folder()", "\nprint_anything()", {"one", "two"}),
    "how the command is called": ("experiments/one.py", 'command("one", work)', 'command("1", work)', set()),
    "what an import runs": ("defuse/core/__init__.py", "", "import os\nos.nice(1)\n", {"one", "two"}),
    "what an import of the command runs": (
        "experiments/command.py",
        "def command",
        "print()\n\ndef command",
        {"one", "two"},
    ),
    "a registry": (
        "defuse/core/tools.py",
        "SIZE = 3",
        "SIZE = 3\ndef register(work):\n    return work\n@register\ndef extra():\n    return 1\n",
        {"one", "two"},
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_reruns_the_stages_that_can_see_it(small, edit):
    before = stage_digests(small)
    name, old, new, stages = EDITS[edit]
    if not old:
        (small / name).write_text(new, encoding="utf-8")
    else:
        replace(small, name, old, new)
    assert changed(before, small) == stages


def test_a_definition_or_a_module_may_move(small):
    before = stage_digests(small)
    replace(
        small, "defuse/core/tools.py", "def area(side):\n    return side * SIZE\n", "from defuse.areas import area\n"
    )
    (small / "defuse/areas.py").write_text(
        "from defuse import core\n\ndef area(side):\n    return side * core.tools.SIZE\n", encoding="utf-8"
    )
    assert changed(before, small) == set()
    (small / "defuse/core/tools.py").rename(small / "defuse/core/things.py")
    for name in ("experiments/one.py", "experiments/cell.py"):
        replace(small, name, "defuse.core.tools", "defuse.core.things")
    replace(small, "experiments/two.py", "import tools\n", "import things\n")
    replace(small, "experiments/two.py", "tools.volume", "things.volume")
    replace(small, "experiments/two.py", "defuse.core.tools", "defuse.core.things")
    replace(small, "defuse/areas.py", "core.tools", "core.things")
    assert changed(before, small) == set()


def test_a_name_may_not_point_elsewhere(small):
    """Two functions of one form, whose own names lead to different code: whoever swaps them is another."""
    for place, size in (("a", 1), ("b", 2)):
        text = f"def size():\n    return {size}\ndef inner():\n    return size()\ndef outer():\n    return inner()\n"
        (small / f"defuse/{place}.py").write_text(text, encoding="utf-8")
    script = (
        "from defuse.{} import outer as first\nfrom defuse.{} import outer as second\n" + SMALL["experiments/one.py"]
    )
    script = script.replace("area(2) + cell.folder", "first() - second()")
    (small / "experiments/one.py").write_text(script.format("a", "b"), encoding="utf-8")
    before = stage_digests(small)
    (small / "experiments/one.py").write_text(script.format("b", "a"), encoding="utf-8")
    assert changed(before, small) == {"one"}


SCOPES = {
    "local of the same name": ("SIZE = side\n    return SIZE", False),
    "argument of the same name": ("return (lambda SIZE: SIZE)(side)", False),
    "local of a comprehension": ("return [SIZE for SIZE in side]", False),
    "what a comprehension runs over": ("return [SIZE for SIZE in SIZE]", True),
    "after a comprehension": ("[SIZE for SIZE in side]\n    return SIZE", True),
    "assigned inside of a comprehension": ("[SIZE := part for part in side]\n    return SIZE", False),
    "global": ("global SIZE\n    SIZE += side", True),
    "in a nested function": ("def inner():\n        return SIZE\n    return inner", True),
    "in a nested function's scope": ("SIZE = 1\n    def inner():\n        return SIZE\n    return inner", False),
    "of a class, unseen by its methods": (
        "class Inner:\n        SIZE = 1\n        def inner(self):\n            return SIZE\n    return Inner",
        True,
    ),
    "of a class, read before it is bound": ("class Inner:\n        SIZE = SIZE\n    return Inner", True),
    "default of an argument": ("def inner(SIZE=SIZE):\n        return SIZE\n    return inner", True),
    "attribute of another object": ("return side.SIZE", False),
    "keyword of a call": ("return side(SIZE=1)", False),
    "caught exception": ("try:\n        side()\n    except OSError as SIZE:\n        return SIZE", False),
    "caught by a pattern": ("match side:\n        case {'a': SIZE}:\n            return SIZE", False),
    "value of a pattern": ("match side:\n        case SIZE():\n            return 1", True),
    "inside of an f-string": ("return f'{side:{SIZE}}'", True),
    "annotation": ("part: SIZE = side\n    return part", False),
}


@pytest.mark.parametrize("case", SCOPES)
def test_names_are_followed_as_python_finds_them(small, case):
    body, followed = SCOPES[case]
    replace(small, "defuse/core/tools.py", "return side * SIZE", body)
    assert ("SIZE" in names(stage_digests(small)["one"])) == followed


DIFFERENT = [
    ("side(a, b)", "side(a.b)"),
    ("{**side, 'a': 1}", "{'a': 1, **side}"),
    ("lambda a=1, *, b: a", "lambda a, *, b=1: a"),
    ("f'{side}a'", "f'{side}' + 'a'"),
    ("f'{side!r}'", "f'{side}'"),
    ("f'{side:>1}'", "f'{side:>2}'"),
    ("'1'", "1"),
    ("True", "1"),
    ("'a'", "b'a'"),
    ("side[1:]", "side[:1]"),
    ("(yield side)", "(yield from side)"),
    ("[part for part in side]", "{part for part in side}"),
    ("side is None", "side is not None"),
    ("side.a.b", "side.a().b"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_expressions_that_differ_have_different_digests(small, one, other):
    replace(small, "defuse/core/tools.py", "side * SIZE", one)
    before = stage_digests(small)
    replace(small, "defuse/core/tools.py", f"return {one}", f"return {other}")
    assert changed(before, small) == {"one", "two"}


REFUSED = {
    "import *": ("from defuse.core.params import *\nSIZE = 3", "hides what is used"),
    "a name that a module lacks": (
        "from defuse.core.params import Three\nSIZE = Three",
        "defuse.core.params has no Three",
    ),
    "import by a text": (
        "import importlib\nSIZE = importlib.import_module('defuse')",
        "importlib.import_module runs code",
    ),
    "code in a text": ("SIZE = eval('3')", "eval runs code"),
    "two imports of a name": ("import math as SIZE\nimport cmath as SIZE", "SIZE is imported from math and from cmath"),
    "imported and defined": ("from math import e as SIZE\nSIZE = 3", "SIZE is both imported and defined"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_code_that_cannot_be_followed_is_refused(small, case):
    text, message = REFUSED[case]
    replace(small, "defuse/core/tools.py", "SIZE = 3", text)
    with pytest.raises(PipelineError, match=message):
        stage_digests(small)


def test_scripts_and_params_that_do_not_fit_are_refused(small):
    replace(small, "dvc.yaml", "one.x", "three.x")
    with pytest.raises(PipelineError, match="lists three"):
        stage_digests(small)
    replace(small, "dvc.yaml", "three.x", "one.x")
    replace(small, "experiments/one.py", 'command("one", work)', 'command("one", lambda: work)')
    with pytest.raises(PipelineError, match="must hand one function"):
        stage_digests(small)
    replace(small, "dvc.yaml", "  one:", "  zero:")
    with pytest.raises(PipelineError, match="zero has no script"):
        stage_digests(small)


STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
LOADS_NETWORKS = {
    *(
        "train_vae",
        "calibrate_oracle",
        "identify",
        "ablate_noise",
        "ablate_search",
        "ablate_vae",
        "show_regions",
        "vote",
        "annotate",
        "ablate_regions",
    ),
    *("correct", "finetune_baseline", "compare_readings", "novelty", "plant_bugs", "summarize", "demo"),
}
CORRECTING = {"correct", "compare_readings", "demo"}
PACKED = {
    *(
        "prepare",
        "identify",
        "distill",
        "show_regions",
        "annotate",
        "correct",
        "compare_readings",
        "novelty",
        "plant_bugs",
        "summarize",
    ),
    "demo",
}
TEMPLATES = {"atlas", "front_page", "show_regions", "demo"}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A copy of the code, and the digests of its stages."""
    root = tmp_path_factory.mktemp("code")
    for folder in ("defuse", "experiments", "notebooks"):
        shutil.copytree(
            ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        )
    shutil.copy(ROOT / "dvc.yaml", root)
    return root, stage_digests(root)


@pytest.fixture
def edited(shipped: tuple[Path, dict[str, str]], tmp_path: Path) -> Callable[[], set[str]]:
    """Function that tells which stages must run after edits of the copy in the current test's folder."""
    root, before = shipped
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)

    def must_run() -> set[str]:
        files = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        other = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        touched = {name.as_posix() for name in files.keys() | other.keys() if files.get(name) != other.get(name)}
        assert touched
        for stage, entry in STAGES.items():
            if stage != "code" and any(name.startswith(f"{dep}/") for dep in entry["deps"] for name in touched):
                touched.add(f"stage {stage}")
        return changed(before, tmp_path) | {
            name.removeprefix("stage ") for name in touched if name.startswith("stage ")
        }

    return must_run


def every_file(root: Path, change: Callable[[str], str]) -> None:
    for path in [*root.glob("defuse/**/*.py"), *root.glob("experiments/**/*.py")]:
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def move(root: Path, old: str, new: str) -> None:
    """Move a module, and change its name wherever it is imported."""
    (root / old.replace(".", "/")).with_suffix(".py").rename((root / new.replace(".", "/")).with_suffix(".py"))
    every_file(root, lambda text: text.replace(old, new))


def without_annotations(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            if not (node.args.args and node.args.args[0].arg == "cell"):  # what a stage works on is told by it
                for argument in [*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]:
                    if argument is not None:
                        argument.annotation = None
    return ast.unparse(tree)


def test_new_formatting_of_every_file_reruns_nothing(edited, tmp_path):
    every_file(tmp_path, lambda text: f"# {len(text)}\n{ast.unparse(ast.parse(text))}  # end\n")
    assert edited() == set()


def test_other_annotations_of_every_function_rerun_nothing(edited, tmp_path):
    every_file(tmp_path, without_annotations)
    assert edited() == set()


def test_moved_modules_and_functions_rerun_nothing(edited, tmp_path):
    move(tmp_path, "defuse.core.storage", "defuse.core.files")
    move(tmp_path, "defuse.method.novelty", "defuse.studies.neighbours")
    move(tmp_path, "experiments.shared.trained", "experiments.shared.networks")
    (tmp_path / "defuse/method/novelty.py").write_text(
        "from defuse.studies.neighbours import Errors\n", encoding="utf-8"
    )
    replace(tmp_path, "experiments/novelty.py", "import Errors, ", "import ")
    first = "\n\n\ndef errors_among"
    replace(tmp_path, "experiments/novelty.py", first, f"\nfrom defuse.method.novelty import Errors{first}")
    assert edited() == set()


SHIPPED_EDITS = {
    "docstring": ("defuse/method/correction.py", '    """Mean cross-entropy', '    """The mean cross-entropy', set()),
    "definition that nothing uses": (
        "defuse/core/random_streams.py",
        "@dataclass(frozen=True)",
        "UNUSED = 1\n\n\n@dataclass(frozen=True)",
        set(),
    ),
    "hint about memory": ("experiments/running/memory.py", "or run fewer stages at once", "or buy some", set()),
    "message of the command line": (
        "experiments/shared/command.py",
        "; allowed: {', '.join(settings.datasets)}",
        "; not there",
        set(),
    ),
    "check of the folder": ("experiments/__init__.py", "would run on the files of", "is not that of", set()),
    "check of params.yaml": ("defuse/core/params_file.py", "this key is missing", "no such key", set()),
    "check across trees": ("defuse/core/params.py", "is missing, and datasets names it", "is not there", set()),
    "digests themselves": ("experiments/running/code_digest.py", "SHOWN_DIGITS = 16", "SHOWN_DIGITS = 16 + 0", set()),
    "runner": ("experiments/running/replication.py", "POLL_SECONDS = 0.1", "POLL_SECONDS = 0.2", set()),
    "renamed local variable": (
        "defuse/method/novelty.py",
        "reference = search",
        "other = reference = search",
        {"novelty", "demo"},
    ),
    "constant of the correction": (
        "defuse/method/correction.py",
        "+ lambda_ * region_loss",
        "+ 2 * lambda_ * region_loss",
        CORRECTING,
    ),
    "bound of the claims": (
        "defuse/core/params_studies.py",
        "planted_advantage: Annotated[float, Field(gt=0, le=1)]",
        "planted_advantage: Share",
        {"claims"},
    ),
    "bound of TrainVAE": (
        "defuse/core/params_training.py",
        "warmup_share: Share",
        "warmup_share: Positive",
        {"train_vae", "train_released_vae", "ablate_vae", "demo"},
    ),
    "colour of figures": ("defuse/showing/drawing.py", "#D55E00", "#D55E01", {"figures", "demo"}),
    "code of a notebook": (
        "notebooks/regions.ipynb",
        "show_regions(tables, 20)",
        "show_regions(tables, 21)",
        {"figures", "demo"},
    ),
    "text of a notebook": ("notebooks/regions.ipynb", "too many to look at", "too many to see", {"figures", "demo"}),
    "kernel of the notebooks": (
        "defuse/showing/kernel.py",
        "sys.path[:] = json",
        "sys.path[1:] = json",
        {"figures", "demo"},
    ),
    "template": ("defuse/showing/templates/base.html", "<body>", "<body >", TEMPLATES),
    "storage of arrays": ("defuse/core/storage.py", "np.savez_compressed(", "np.savez(", PACKED),
    "import swapped": (
        "experiments/identify.py",
        "write_json, write_table",
        "write_table as write_json, write_table",
        {"identify", "demo"},
    ),
    "loading of networks": (
        "defuse/models/saved_networks.py",
        "return network.eval()",
        "return network",
        LOADS_NETWORKS,
    ),
    "method of the cell": (
        "experiments/shared/cell.py",
        'self.results / "report"',
        'self.results / "reports"',
        TEMPLATES - {"show_regions"},
    ),
}


@pytest.mark.parametrize("edit", SHIPPED_EDITS)
def test_an_edit_of_the_shipped_code_reruns_the_stages_that_can_see_it(edited, tmp_path, edit):
    name, old, new, stages = SHIPPED_EDITS[edit]
    replace(tmp_path, name, old, new)
    assert edited() == stages
