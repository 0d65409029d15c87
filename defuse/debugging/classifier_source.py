"""A classifier from the user's own Python function: weights are theirs to load, and are never unpickled here."""

import importlib
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
    if not (module_name and colon and function_name.isidentifier()):
        raise ClassifierError(f"--classifier {source!r}; allowed: package.module:function, as mynet.model:classifier")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except ImportError as error:
        raise ClassifierError(f"--classifier {source}: module {module_name} cannot be imported ({error})") from error
    except AttributeError as error:
        raise ClassifierError(f"--classifier {source}: {error}") from error
    try:
        found = function()
    except Exception as error:  # the user's code may raise anything
        raise ClassifierError(
            f"--classifier {source}: the function fails: {type(error).__name__}: {error}; allowed: one that takes no "
            "argument and returns a torch.nn.Module or a defuse.OwnClassifier"
        ) from error
    if isinstance(found, OwnClassifier):
        return found
    if not isinstance(found, nn.Module):
        raise ClassifierError(
            f"--classifier {source}: the function returns a {type(found).__name__}; allowed: a torch.nn.Module, or a "
            "defuse.OwnClassifier, which also takes functions of other frameworks"
        )
    if size is None:
        raise ClassifierError(
            f"--classifier {source}: the function returns a plain module, whose image size nobody knows; allowed: "
            "--size PIXELS (and --channels 1), or a function that returns defuse.OwnClassifier(module, size)"
        )
    return OwnClassifier(found, size, channels)
