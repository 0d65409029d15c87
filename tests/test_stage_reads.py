"""What a stage runs and reads while it works is what `dvc.yaml` lists: its code, its params, its files."""

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import safetensors
import tiny_cell
from conftest import ROOT
from pydantic import BaseModel
from ruamel.yaml import YAML

from defuse.core import params
from experiments.running.code_digest import Graph, reached, stage_roots
from experiments.running.code_form import Sources
from experiments.shared.cell import Cell

STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
# `optimizer` says in words what `momentum` tells the code; the tiny cell has too few mistakes for the rivals' baseline.
UNREAD = {"correct.digits.optimizer"} | {
    f"finetune_baseline.digits.{key}" for key in ("batch_size", "momentum", "optimizer", "steps", "weight_decay")
}
# Read on the way to people's slips, of which this stage draws none.
READ_WITHOUT_EFFECT = {("ablate_regions", "annotate.digits.slip_rate")}
# They tell a checkpoint's code apart, and can change nothing that a training writes.
DIGESTING = ("experiments.running.code_digest", "experiments.running.code_form")


@dataclass
class Record:
    """What one stage ran and read.

    Attributes:
        code: code objects of ours.
        keys: dotted keys of `params.yaml`.
        files: paths in the project.
    """

    code: set[CodeType] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)


class Recorder:
    """Watches one stage after the other; what they share is hooked once."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self.paths: dict[int, str] = {}
        self.replaced: dict[int, set[str]] = {}
        self.kept: list[BaseModel] = []

    def note_file(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook, which Python cannot take off again."""
        if self.record is None or event not in ("open", "os.listdir", "os.scandir"):
            return
        path, *mode = arguments
        if isinstance(path, str | os.PathLike) and (event != "open" or str(mode[0]).startswith("r")):
            relative = os.path.relpath(path)
            if not relative.startswith(".."):
                self.record.files.add(Path(relative).as_posix())

    def place(self, tree: Any, path: str) -> None:
        """Remember where in `params.yaml` the models of a tree stand."""
        if isinstance(tree, dict):
            for name, part in tree.items():
                self.place(part, f"{path}.{name}")
        elif isinstance(tree, BaseModel):
            self.kept.append(tree)
            self.paths[id(tree)] = path
            for name, part in tree.__dict__.items():
                self.place(part, f"{path}.{name}".removeprefix("."))

    def read_field(self, model: BaseModel, name: str) -> Any:
        """In place of a model's `__getattribute__`."""
        value = object.__getattribute__(model, name)
        path = self.paths.get(id(model))
        if self.record is None or path is None:
            return value
        fields = type(model).model_fields.keys() - self.replaced.get(id(model), set())
        if name == "model_dump":
            self.record.keys |= {f"{path}.{part}".removeprefix(".") for part in fields}
        elif name == "model_copy":

            def copied(**arguments: Any) -> BaseModel:
                made = value(**arguments)
                self.place(made, path)
                self.replaced[id(made)] = set(arguments.get("update", ()))
                return made

            return copied
        elif name in fields and not isinstance(value, params.Params) and not holds_models(value):
            self.record.keys.add(f"{path}.{name}".removeprefix("."))
        return value

    def watched(self, work: Any, record: Record) -> Any:
        """A stage's work, watched."""

        def note_call(frame: Any, event: str, _: Any) -> None:
            if event == "call":
                record.code.add(frame.f_code)

        def watched_work(cell: Cell) -> str:
            self.place(cell.settings, "")
            self.record = record
            sys.setprofile(note_call)
            try:
                return work(cell)
            finally:
                sys.setprofile(None)
                self.record = None

        return watched_work


def holds_models(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(part, params.Params) for part in value.values())


@pytest.fixture(scope="module")
def records(shipped_tree, tmp_path_factory) -> Iterator[dict[str, Record]]:
    """What each stage of the tiny cell ran and read."""
    recorder, before, found = Recorder(), Path.cwd(), {}
    sys.addaudithook(recorder.note_file)
    opened = safetensors.safe_open

    def open_weights(path: Any, *arguments: Any, **keywords: Any) -> Any:
        recorder.note_file("open", (path, "r"))  # it opens files outside of Python
        return opened(path, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(params.Params, "__getattribute__", lambda *read: recorder.read_field(*read), raising=False)
        for module in [part for name, part in sys.modules.items() if name.startswith("defuse")]:
            if getattr(module, "safe_open", None) is opened:
                patch.setattr(module, "safe_open", open_weights)
        patch.setattr(safetensors, "safe_open", open_weights)
        try:
            tiny_cell.write_project(tmp_path_factory.mktemp("reads"), tiny_cell.small_params(shipped_tree))
            for stage, (name, _) in tiny_cell.STAGES.items():
                module, found[stage] = importlib.import_module(f"experiments.{stage}"), Record()
                patch.setattr(module, name, recorder.watched(getattr(module, name), found[stage]))
                tiny_cell.run_stage(stage)
            yield found
        finally:
            recorder.record = None
            os.chdir(before)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph(Sources(ROOT))


def definition_of(graph: Graph, code: CodeType) -> tuple[str, str] | None:
    """Module and name of the top-level definition, or of the method, that a code object stands in."""
    path = Path(code.co_filename)
    if path.suffix != ".py":  # a template, which the stage lists as a file
        return None
    if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in ("defuse", "experiments"):
        return None
    if not code.co_flags & inspect.CO_OPTIMIZED:  # the body of a module or of a class, as an import runs it
        return None
    module = graph.sources.module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if module.name in DIGESTING:
        return None
    for name, nodes in module.definitions.items():
        for node in nodes:
            first = min([node.lineno, *(part.lineno for part in getattr(node, "decorator_list", []))])
            if first <= code.co_firstlineno <= node.end_lineno:
                method = code.co_qualname.split(".")[1:2]
                apart = name == "Cell" and not method[0].startswith("__")
                return module.name, f"Cell.{method[0]}" if apart else name
    raise AssertionError(f"{path}:{code.co_firstlineno} is in no definition")


@pytest.mark.parametrize("stage", tiny_cell.STAGES)
def test_what_a_stage_runs_is_in_its_digest(records, graph, stage):
    found = reached(graph, stage_roots(graph, stage, STAGES[stage]))
    known = {(module, name.partition(",")[0]) for module, name in found}
    ran = {definition_of(graph, code) for code in records[stage].code} - {None}
    assert len(ran) > 5
    assert ran - known == set()


def listed(stage: str, kind: str) -> list[str]:
    """What `dvc.yaml` lists for the stage of the digits' first cell."""
    entries = STAGES[stage].get(kind, [])
    changes = {"${item.dataset}": "digits", "${item.seed}": "0", "${seeds[0]}": "0", "${study_seeds[0]}": "0"}
    for old, new in changes.items():
        entries = [entry.replace(old, new) for entry in entries]
    return entries


@pytest.mark.parametrize("stage", tiny_cell.STAGES)
def test_the_params_that_a_stage_reads_are_those_that_it_lists(records, stage):
    read, keys = records[stage].keys, listed(stage, "params")
    read = {name for name in read if (stage, name) not in READ_WITHOUT_EFFECT}
    assert not {name for name in read if not any(f"{name}.".startswith(f"{key}.") for key in keys)}
    unread = {key for key in keys if not any(f"{name}.".startswith(f"{key}.") for name in read)}
    assert unread <= (UNREAD if stage == "compare_readings" else set())


@pytest.mark.parametrize("stage", tiny_cell.STAGES)
def test_the_files_that_a_stage_reads_are_those_that_it_lists(records, stage):
    own = [f"artifacts/{stage}/", f"artifacts/checkpoints/{stage}/", "results/"]
    deps = [dep for dep in listed(stage, "deps") if dep.startswith(("artifacts/", "results/"))][1:]
    read = {name for name in records[stage].files if name.startswith(("artifacts/", "results/"))}
    assert not {name for name in read if not name.startswith(tuple(own)) and not is_under(name, deps)}
    assert [dep for dep in deps if not any(is_under(name, [dep]) for name in read)] == []


def is_under(name: str, folders: list[str]) -> bool:
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


@pytest.mark.parametrize("stage", sorted(STAGES.keys() - {"code", "demo"}))  # `demo` sets seeds and data sets itself
def test_a_stage_lists_what_it_reads_of_the_whole_pipeline(graph, stage):
    """Seeds, data sets and claims, by name: the tiny cell does not run every stage."""
    keys = {"seeds", "study_seeds", "datasets", "claims"}
    found = reached(graph, stage_roots(graph, stage, STAGES[stage]))
    named = {
        name for (module, _), form in found.items() if module.startswith("experiments") for name in form.attributes
    }
    assert named & keys == {param.partition(".")[0] for param in STAGES[stage].get("params", [])} & keys
