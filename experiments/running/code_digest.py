"""For each stage of `dvc.yaml`, the code that can run in it: what its one code dependency is made of.

A stage's code is its work function (what `experiments/STAGE.py` hands to its command) and, definition by definition,
all that is named from there; the classes that the work function's arguments are of; the models of those parts of
`params.yaml` that `dvc.yaml` lists for it; the code cells of the notebooks where it depends on them; and whatever else
runs when the modules are imported. The command line around the work function is not part of it, nor are the checks of
`params.yaml` as a whole: they can stop a stage, never change what it writes.
"""

import ast
import copy
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from defuse.core.errors import PipelineError
from experiments.running.code_form import FUNCTIONS, WHOLE, Form, Module, Reference, Sources, form_of, parsed

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "defuse.core.params.Settings"
SHOWN_DIGITS = 16
HARMLESS_DECORATORS = ("property", "cached_property", "functools.cached_property", "classmethod", "staticmethod")


def sha256(*parts: str) -> str:
    """Hex digest of the parts in their order."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass
class Graph:
    """Definitions by reference, and the form of each; filled as stages ask for them."""

    sources: Sources
    forms: dict[Reference, Form] = field(default_factory=dict)

    def add(self, reference: Reference, module: Module, nodes: Iterable[ast.AST]) -> Reference:
        """Keep the form of these nodes under a reference, unless it has one."""
        if reference not in self.forms:
            self.forms[reference] = form_of(self.sources, module, nodes)
        return reference

    def form(self, reference: Reference) -> Form:
        """The form of a definition, or of a module as a whole, which refers to each of its definitions."""
        module = self.sources.module(reference[0])
        if reference not in self.forms and module is not None:
            if reference[1] == WHOLE:
                self.forms[reference] = Form(
                    "", tuple((module.name, name) for name in sorted(module.definitions)), (), frozenset()
                )
            else:
                self.add(reference, module, module.definitions[reference[1]])
        return self.forms[reference]


@dataclass
class Roots:
    """Where a stage's code starts: definitions, and methods that count where their name is used."""

    definitions: list[Reference]
    methods: dict[str, Reference] = field(default_factory=dict)


def work_function(module: Module) -> ast.FunctionDef:
    """The function that a stage's script hands to its command, under `if __name__ == "__main__":`.

    Raises:
        PipelineError: there is not exactly one.
    """
    handed = {
        argument.id
        for statement in module.main
        for call in ast.walk(statement)
        if isinstance(call, ast.Call)
        for argument in [*call.args, *(keyword.value for keyword in call.keywords)]
        if isinstance(argument, ast.Name)
    }
    found = [node for name in handed for node in module.definitions.get(name, []) if isinstance(node, FUNCTIONS)]
    if len(found) != 1 or not isinstance(found[0], ast.FunctionDef):
        raise PipelineError(f"{module.name}: its last block must hand one function of it to the stage's command")
    return found[0]


def script_roots(graph: Graph, stage: str) -> Roots:
    """A stage's work function, and the classes that the annotations of its arguments name: the command makes these."""
    name = f"experiments.{stage}"
    module = graph.sources.module(name)
    if module is None:
        raise PipelineError(f"the stage {stage} has no script {name}")
    function = work_function(module)
    annotations = [argument.annotation for argument in function.args.args if argument.annotation]
    roots = Roots([(name, function.name)])
    for where, found in form_of(graph.sources, module, annotations).references:
        add_class(graph, roots, graph.sources.module(where), found)
    return roots


def add_class(graph: Graph, roots: Roots, module: Module, name: str) -> None:
    """Add a class of ours; each of its methods counts where code that can run uses an attribute of its name."""
    (node,) = module.definitions[name]
    methods = {
        part.name: part
        for part in node.body
        if isinstance(part, FUNCTIONS)
        and not part.name.startswith("__")
        and all(ast.unparse(decorator) in HARMLESS_DECORATORS for decorator in part.decorator_list)
    }
    rest = copy.copy(node)
    rest.body = [part for part in node.body if part not in methods.values()]
    roots.definitions.append(graph.add((module.name, f"{name}, methods apart"), module, [rest]))
    for method, part in methods.items():
        roots.methods[method] = graph.add((module.name, f"{name}.{method}"), module, [part])


def settings_root(graph: Graph, key: str) -> Reference:
    """The model of a top key of `params.yaml`: the field of `Settings`, and the validators that name it.

    Raises:
        PipelineError: `Settings` has no such field.
    """
    (where, name), _ = graph.sources.find(SETTINGS)
    module = graph.sources.module(where)
    body = [part for node in module.definitions[name] for part in node.body]
    nodes = [part.annotation for part in body if isinstance(part, ast.AnnAssign) and part.target.id == key]
    if not nodes:
        raise PipelineError(f"dvc.yaml lists {key} among a stage's params, and Settings has no such key")
    nodes += [
        part
        for part in body
        if isinstance(part, FUNCTIONS)
        and any(isinstance(leaf, ast.Constant) and leaf.value == key for leaf in nodes_of(part.decorator_list))
    ]
    return graph.add((where, f"{name}.{key}"), module, nodes)


def nodes_of(trees: Iterable[ast.AST]) -> Iterable[ast.AST]:
    """The nodes of all trees."""
    return (node for tree in trees for node in ast.walk(tree))


def notebook_root(graph: Graph, path: Path) -> Reference:
    """The code cells of a notebook, as if they were one function."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).split("\n")]
    function = ast.parse("def notebook(): pass").body[0]
    function.body = ast.parse("\n".join(line for line in lines if not line.startswith(("%", "!")))).body
    name = f"notebook {path.stem}"
    return graph.add((name, name), parsed(name, "", ""), [function])


def import_statements(graph: Graph, module: Module) -> list[Reference]:
    """What runs when a module is imported: its loose statements, and definitions that a decorator of ours takes in."""
    found = [
        graph.add((module.name, f"statement {number}"), module, [node]) for number, node in enumerate(module.statements)
    ]
    for name, nodes in module.definitions.items():
        decorators = [part for node in nodes for part in getattr(node, "decorator_list", [])]
        if decorators and form_of(graph.sources, module, decorators).references:
            found.append((module.name, name))
    return found


def reached(graph: Graph, roots: Roots) -> dict[Reference, Form]:
    """All definitions that can run from these on, the statements of the modules that they import included."""
    found: dict[Reference, Form] = {}
    imported: set[str] = set()
    waiting = list(roots.definitions)
    modules: list[str] = []
    while waiting or modules:
        if modules:
            for name in graph.sources.modules_of(modules.pop()):
                if name not in imported:
                    imported.add(name)
                    module = graph.sources.module(name)
                    modules += module.needs
                    waiting += import_statements(graph, module)
            continue
        reference = waiting.pop()
        if reference not in found:
            form = found[reference] = graph.form(reference)
            waiting += form.references
            waiting += [roots.methods[name] for name in roots.methods.keys() & form.attributes]
            modules += [reference[0], *form.needs]
    return found


def together(found: dict[Reference, Form], roots: Iterable[Reference]) -> str:
    """One digest of the roots with all that they lead to, whatever places the definitions have.

    Each round tells apart what the round before told apart, or what leads to it; recursion does no harm.
    """
    digests = {reference: sha256(form.text) for reference, form in found.items()}
    different = 0
    while different != len(set(digests.values())):
        different = len(set(digests.values()))
        digests = {
            reference: sha256(digests[reference], *(digests[part] for part in form.references))
            for reference, form in found.items()
        }
    return sha256(*sorted(digests[root] for root in roots))


def digest_text(graph: Graph, stage: str, roots: Roots) -> str:
    """A line for all of a stage's code, and one for each definition: of its form, and the forms that it names."""
    found = reached(graph, roots)
    named = {part for form in found.values() for part in form.references}
    starts = [reference for reference in found if reference not in named or reference in roots.definitions]
    lines = [
        (shown_name(reference[1]), sha256(form.text, *(found[part].text for part in form.references)))
        for reference, form in found.items()
        if reference[1] != WHOLE
    ]
    header = f"{together(found, starts)[:SHOWN_DIGITS]}  all that can run in {stage}\n"
    return header + "".join(f"{digest[:SHOWN_DIGITS]}  {name}\n" for name, digest in sorted(lines))


def shown_name(name: str) -> str:
    """A definition's name, without what tells statements and parts of a class apart."""
    return name.partition(" ")[0] if name.startswith("statement ") else name.partition(",")[0]


def stage_roots(graph: Graph, stage: str, entry: dict[str, Any]) -> Roots:
    """Where a stage's code starts: its script, its parts of `params.yaml`, its notebooks."""
    roots = script_roots(graph, stage)
    for key in dict.fromkeys(param.partition(".")[0] for param in entry.get("params", [])):
        roots.definitions.append(settings_root(graph, key))
    if "notebooks" in entry["deps"]:
        paths = sorted((graph.sources.root / "notebooks").glob("*.ipynb"))
        roots.definitions += [notebook_root(graph, path) for path in paths]
    return roots


def stage_digests(root: Path, own: str = "code") -> dict[str, str]:
    """The text of `results/code/STAGE.txt` for each stage of `dvc.yaml` but `own`, which writes them.

    Raises:
        PipelineError: code that cannot be followed, or a stage without a script.
    """
    graph = Graph(Sources(root))
    stages = YAML(typ="safe").load(root / "dvc.yaml")["stages"]
    return {
        stage: digest_text(graph, stage, stage_roots(graph, stage, entry))
        for stage, entry in stages.items()
        if stage != own
    }


def running_code(stage: str) -> str:
    """SHA-256 of the code that can run in a stage, read from the files of this very program, in a blink.

    Without the models of `params.yaml`: their values tell a training apart.
    """
    graph = Graph(Sources(ROOT))
    return hashlib.sha256(digest_text(graph, stage, script_roots(graph, stage)).encode()).hexdigest()
