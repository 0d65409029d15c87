"""A classifier from the user's own Python function: weights are theirs to load, and are never unpickled here."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Literal

from torch import nn

from defuse.core.errors import ClassifierError
from defuse.models.own_classifier import OwnClassifier


def load_classifier(source: str, size: int | None = None, channels: Literal[1, 3] = 3) -> OwnClassifier:
    """Call the function that `package.module:function` names; modules of the current folder are found.

    Args:
        source: the function, which takes no argument and returns a module or an `OwnClassifier`.
        size: side of the images that a plain module takes; an `OwnClassifier` knows its own.
        channels: of these images.

    Raises:
        ClassifierError: there is no such function, it fails, or what it returns is neither.
    """
    module_name, colon, function_name = source.partition(":")
    parts = [*module_name.split("."), function_name]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ClassifierError(
            f"{source!r} names no classifier; allowed: package.module:function, such as mynet.model:load"
        )
    found = called(source, function_in(source, module_name, function_name))
    if isinstance(found, OwnClassifier):
        return found
    if not isinstance(found, nn.Module):
        raise ClassifierError(
            f"{source}: the function returns {kind_of(found)}; allowed: a torch.nn.Module, or a defuse.OwnClassifier, "
            "which also takes functions of other frameworks"
        )
    if size is None:
        raise ClassifierError(
            f"{source}: the function returns a plain module, whose image size is not known; allowed: --size PIXELS "
            "(and --channels 1), or a function that returns defuse.OwnClassifier(module, size)"
        )
    return OwnClassifier(found, size, channels)


def function_in(source: str, module_name: str, function_name: str) -> object:
    """What a module calls by this name.

    Raises:
        ClassifierError: there is no such module, its import fails, or it has no such name.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        found = isinstance(error, ModuleNotFoundError) and str(error.name) in (module_name, module_name.split(".")[0])
        hint = f"; modules are looked for in {Path.cwd()} and among those installed" if found else ""
        raise ClassifierError(
            f"{source}: module {module_name} cannot be imported: {type(error).__name__}: {error}{hint}"
        ) from error
    if not hasattr(module, function_name):
        functions = [
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module_name
        ]
        hint = f"; it has {', '.join(functions[:8])}" if functions else ""
        raise ClassifierError(f"{source}: module {module_name} has no function {function_name}{hint}")
    return getattr(module, function_name)


def called(source: str, function: object) -> object:
    """What the user's function returns.

    Raises:
        ClassifierError: it is none, or fails.
    """
    allowed = "allowed: a function that takes no argument and returns a torch.nn.Module or a defuse.OwnClassifier"
    if isinstance(function, nn.Module) or not callable(function):
        raise ClassifierError(f"{source} is {kind_of(function)}; {allowed}")
    try:
        return function()
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ClassifierError(f"{source}: the function fails: {type(error).__name__}: {error}; {allowed}") from error


def kind_of(value: object) -> str:
    """The type of a value, in words."""
    return "nothing" if value is None else f"a {type(value).__name__}"
