"""Source files as definitions, each in a form that tells its behaviour and nothing else.

Comments, docstrings, formatting, annotations of functions, and the files that definitions stand in leave no trace in
the form. Nothing is imported or run: all is read from the text.
"""

import ast
import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from defuse.core.errors import PipelineError

PACKAGES = ("defuse", "experiments")
WHOLE = "*"  # stands for all definitions of a module that is used other than through its attributes

Reference = tuple[str, str]  # module and name of a definition
Names = dict[str, str | None]  # what a scope binds: dotted name of what is imported, None for the rest

# They run code that no reader of names can find.
UNREADABLE = ("__import__", "eval", "exec", "globals", "importlib.import_module", "importlib.util", "runpy")
# Of `Settings` a stage sees the trees that dvc.yaml lists for it. The others can stop a stage, or refuse a checkpoint,
# and never change what a stage writes.
NOT_FOLLOWED = (
    "defuse.core.params.Settings",
    "experiments.running.code_digest.running_code",
    "experiments.check_folder",
    "experiments.print_anything",
)
NO_BEHAVIOUR = ("ctx", "kind", "type_comment", "type_ignores", "type_params", "returns")

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
IMPORTS = (ast.Import, ast.ImportFrom)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Module:
    """A source file, taken apart.

    Attributes:
        name: dotted.
        package: what its relative imports start from.
        definitions: top-level functions, classes and assignments by the name that they bind.
        imports: dotted names of what top-level imports bind, by the bound name.
        needs: dotted names that are imported when the module is.
        statements: what runs when the module is imported, and is neither of these.
        main: the block under `if __name__ == "__main__":`.
    """

    name: str
    package: str
    definitions: dict[str, list[ast.stmt]]
    imports: Names
    needs: list[str]
    statements: list[ast.stmt]
    main: list[ast.stmt]


@dataclass(frozen=True)
class Form:
    """A definition's behaviour.

    Attributes:
        text: what it does.
        references: the definitions that it names, in order.
        needs: dotted names that it imports inside of functions.
        attributes: names of attributes that it uses, and its texts: `getattr` takes a name from one.
    """

    text: str
    references: tuple[Reference, ...]
    needs: tuple[str, ...]
    attributes: frozenset[str]


def imported_names(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    """Bound name and dotted target of each part of an import; `package` is what relative imports start from."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
        return
    above = package.split(".")
    start = ".".join(above[: len(above) + 1 - node.level]) if node.level else ""
    module = ".".join(part for part in (start, node.module) if part)
    for alias in node.names:
        if alias.name == "*" and module.partition(".")[0] in PACKAGES:
            raise PipelineError(f"{package}: `from {module} import *` hides what is used; import names")
        yield alias.asname or alias.name, f"{module}.{alias.name}"


def bound_names(nodes: Iterable[ast.AST], package: str) -> Names:
    """The names that these nodes bind in their own scope, those of nested scopes left out."""
    names: Names = {}
    elsewhere: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, IMPORTS):
            for name, target in imported_names(node, package):
                if names.get(name) not in (None, target):
                    raise PipelineError(f"{package}: {name} is imported from {names[name]} and from {target}")
                names[name] = target
            continue
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        found = {
            ast.arg: "arg",
            ast.ExceptHandler: "name",
            ast.MatchAs: "name",
            ast.MatchStar: "name",
            ast.MatchMapping: "rest",
            ast.FunctionDef: "name",
            ast.AsyncFunctionDef: "name",
            ast.ClassDef: "name",
        }.get(type(node))
        name = getattr(node, found) if found else None
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            name = node.id
        if name:
            names.setdefault(name, None)
        if isinstance(node, COMPREHENSIONS):  # `:=` alone binds outside of them
            waiting += [part.target for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
        elif not isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return {name: target for name, target in names.items() if name not in elsewhere}


def is_test(node: ast.stmt, *names: str) -> bool:
    """Whether a statement is an `if` whose test is one of these texts."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in names


def is_silent(node: ast.stmt) -> bool:
    """Whether a statement does nothing: a docstring, `...`, `pass`, an annotation without a value."""
    return (
        isinstance(node, ast.Pass)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.AnnAssign) and node.value is None)
    )


@functools.lru_cache(maxsize=1024)
def parsed(name: str, package: str, text: str) -> Module:
    """A module taken apart; `package` is what its relative imports start from."""
    module = Module(name, package, {}, {}, [], [], [])

    def bind(nodes: list[ast.stmt], statement: ast.stmt | None) -> None:
        for bound, target in bound_names(nodes, package).items():
            if target is not None and module.imports.setdefault(bound, target) != target:
                raise PipelineError(f"{name}: {bound} is imported from {module.imports[bound]} and from {target}")
            if target is None and statement is not None:
                module.definitions.setdefault(bound, []).append(statement)

    for node in ast.parse(text).body:
        if is_test(node, "__name__ == '__main__'"):
            module.main.extend(node.body)
        elif is_test(node, "TYPE_CHECKING", "typing.TYPE_CHECKING"):
            bind(node.body, None)
        elif not is_silent(node):
            bind([node], node)
            for part in ast.walk(node):
                if isinstance(part, IMPORTS) and not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                    module.needs.extend(target for _, target in imported_names(part, package))
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            flat = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
            assigns = isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
            if not isinstance(node, (*FUNCTIONS, ast.ClassDef, *IMPORTS)) and not (
                assigns and all(isinstance(part, ast.Name) for part in flat)
            ):
                module.statements.append(node)
    both = sorted(module.definitions.keys() & module.imports.keys())
    if both:
        raise PipelineError(f"{name}: {', '.join(both)} is both imported and defined")
    return module


class Sources:
    """The packages under a folder; each file is read once."""

    def __init__(self, root: Path) -> None:
        """Start with no file read."""
        self.root = root
        self.read: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """A module or package of ours by its dotted name, None if there is none."""
        if name not in self.read:
            base = self.root.joinpath(*name.split("."))
            files = {base.with_suffix(".py"): name.rpartition(".")[0], base / "__init__.py": name}
            file = next((file for file in files if name.partition(".")[0] in PACKAGES and file.is_file()), None)
            self.read[name] = parsed(name, files[file], file.read_text(encoding="utf-8")) if file else None
        return self.read[name]

    def find(self, dotted: str) -> tuple[Reference | str, list[str]]:
        """What a dotted name stands for: a definition, or an external name; and the attributes after it.

        Raises:
            PipelineError: one of our modules lacks the name.
        """
        first, *rest = dotted.split(".")
        module = self.module(first)
        if module is None:
            return dotted, []
        while rest:
            name = rest.pop(0)
            if name in module.definitions:
                return (module.name, name), rest
            if name in module.imports:
                return self.find(".".join([str(module.imports[name]), *rest]))
            inner = self.module(f"{module.name}.{name}")
            if inner is None:
                if name.startswith("__"):
                    return name, rest
                raise PipelineError(f"{module.name} has no {name} that can be read from its text")
            module = inner
        return (module.name, WHOLE), []

    @functools.cached_property
    def not_followed(self) -> list[Reference | str]:
        """The definitions at which a stage's code ends."""
        return [self.find(name)[0] for name in NOT_FOLLOWED]

    def modules_of(self, dotted: str) -> list[str]:
        """Our modules that importing a dotted name runs, packages first."""
        parts = dotted.split(".")
        names = [".".join(parts[: end + 1]) for end in range(len(parts))]
        return [name for name in names if self.module(name)]


class Writer:
    """Writes nodes of one module as a `Form`."""

    def __init__(self, sources: Sources, module: Module) -> None:
        """Start with nothing written."""
        self.sources, self.module = sources, module
        self.text: list[str] = []
        self.references: dict[Reference, None] = {}
        self.needs: list[str] = []
        self.attributes: set[str] = set()
        self.scopes: list[tuple[bool, Names]] = []  # whether it is a class's, and what it binds

    def form(self) -> Form:
        """What has been written so far."""
        return Form("".join(self.text), tuple(self.references), tuple(self.needs), frozenset(self.attributes))

    def refer(self, dotted: str, attributes: list[str]) -> None:
        """Write what a dotted name and attributes of it stand for; none of our modules' names is written."""
        found, rest = self.sources.find(".".join([dotted, *attributes]))
        if isinstance(found, str):
            if any(found == name or found.startswith(f"{name}.") for name in UNREADABLE):
                raise PipelineError(f"{self.module.name}: {found} runs code that cannot be read from the text")
            self.text.append(f"<{'.'.join([found, *rest])}>")
            return
        self.text.append(f"<{'.'.join(['our', found[1], *rest])}>")
        if found not in self.sources.not_followed:
            self.references[found] = None

    def write_name(self, name: str, attributes: list[str]) -> None:
        """Write a name with its attributes: a local one as it is, any other one as what it stands for."""
        ours = name in self.module.definitions or name in self.module.imports
        for place, (is_class, names) in enumerate(reversed(self.scopes)):
            if name in names and not (is_class and place):
                target = names[name]
                if target is not None:
                    return self.refer(target, attributes)
                self.text.append(".".join([name, *attributes]) + " ")
                if not (is_class and ours):  # before a class binds it, the name is the module's
                    return None
        if ours:
            return self.refer(f"{self.module.name}.{name}", attributes)
        return self.refer(name, attributes)

    def write_all(self, nodes: Iterable[ast.AST | None]) -> None:
        """Write nodes one after another."""
        self.text.append("[")
        for node in nodes:
            self.write(node)
        self.text.append("]")

    def write_in_scope(self, names: Names, nodes: Iterable[ast.AST | None], is_class: bool = False) -> None:
        """Write nodes in a scope that binds `names`."""
        self.scopes.append((is_class, names))
        self.write_all(nodes)
        self.scopes.pop()

    def write_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        """Write a function without annotations and docstring."""
        body = node.body if isinstance(node.body, list) else [node.body]
        self.write_all(getattr(node, "decorator_list", []))
        self.write_all(node.args.defaults)
        self.write_all(node.args.kw_defaults)
        kinds = (node.args.posonlyargs, node.args.args, [node.args.vararg], node.args.kwonlyargs, [node.args.kwarg])
        self.text.append("; ".join(" ".join(part.arg for part in kind if part) for kind in kinds))
        self.write_in_scope(bound_names([node.args, *body], self.module.package), body)

    def write_comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        """Write a comprehension, whose names are its own."""
        first, *others = node.generators
        self.write(first.iter)  # it alone sees the scope outside
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self.text.append(f"{[part.is_async for part in node.generators]}")
        names = bound_names([part.target for part in node.generators], self.module.package)
        self.write_in_scope(names, [*results, first.target, *first.ifs, *others])

    def write_annotation(self, node: ast.expr) -> None:
        """Write an annotation, in quotes or not."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            with contextlib.suppress(SyntaxError):  # a forward reference, or jaxtyping's names of dimensions
                node = ast.parse(node.value, mode="eval").body
        self.write(node)

    def write(self, node: object) -> None:
        """Write a node, a list of nodes or a value; fields that are empty leave no trace."""
        if isinstance(node, list):
            return self.write_all(node)
        if not isinstance(node, ast.AST):
            self.text.append(f"{node!a} ")
            return None
        if isinstance(node, ast.stmt) and is_silent(node):
            in_class = bool(self.scopes) and self.scopes[-1][0]
            if not (in_class and isinstance(node, ast.AnnAssign)):
                return None
        if isinstance(node, IMPORTS):
            self.needs += [target for _, target in imported_names(node, self.module.package)]
            return None
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.attributes.add(node.value)
        chain, base = [], node
        while isinstance(base, ast.Attribute):
            chain, base = [base.attr, *chain], base.value
        self.attributes.update(chain)
        if isinstance(base, ast.Name):
            is_global = self.scopes and not any(base.id in names for _, names in self.scopes)
            if isinstance(base.ctx, ast.Load) or is_global:
                return self.write_name(base.id, chain)
        self.text.append(f"({type(node).__name__} ")
        if isinstance(node, ast.Constant):
            self.text.append(f"{type(node.value).__name__} {node.value!a}")
        elif isinstance(node, ast.JoinedStr):
            self.write_joined(node)
        elif isinstance(node, (*FUNCTIONS, ast.Lambda)):
            self.text.append(getattr(node, "name", "") + " ")
            self.write_function(node)
        elif isinstance(node, ast.ClassDef):
            self.text.append(node.name)
            self.write_all([*node.decorator_list, *node.bases, *node.keywords])
            self.write_in_scope(bound_names(node.body, self.module.package), node.body, is_class=True)
        elif isinstance(node, COMPREHENSIONS):
            self.write_comprehension(node)
        elif isinstance(node, ast.AnnAssign):
            if self.scopes and self.scopes[-1][0]:  # pydantic and dataclasses read a class's annotations
                self.write_annotation(node.annotation)
            else:
                self.text[-1] = "(Assign "
            self.text.append("targets=")
            self.write_all([node.target])
            self.text.append("value=")
            self.write(node.value)
        else:
            for field, value in ast.iter_fields(node):
                if value not in (None, []) and field not in NO_BEHAVIOUR:
                    self.text.append(f"{field}=")
                    self.write(value)
        self.text.append(")")
        return None

    def write_joined(self, node: ast.JoinedStr) -> None:
        """An f-string: Python's versions divide its constant parts differently."""
        constant = ""
        for part in [*node.values, None]:
            if isinstance(part, ast.Constant):
                constant += part.value
                continue
            self.text.append(ascii(constant))
            constant = ""
            if isinstance(part, ast.FormattedValue):
                self.text.append(f"({part.conversion} ")
                self.write(part.value)
                if isinstance(part.format_spec, ast.JoinedStr):
                    self.write_joined(part.format_spec)
                self.text.append(")")


def form_of(sources: Sources, module: Module, nodes: Iterable[ast.AST]) -> Form:
    """The form of nodes of a module."""
    writer = Writer(sources, module)
    writer.write_all(nodes)
    return writer.form()
