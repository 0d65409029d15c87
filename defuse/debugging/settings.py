"""The settings of a run on one's own classifier: the defaults, and what a file of one's own changes."""

from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from defuse.core.errors import ParamsError
from defuse.core.params_debugging import Debugging
from defuse.core.params_file import describe, problems_of
from defuse.core.plain_yaml import load_plain_yaml
from defuse.debugging.run_folder import RunFolder


def load_defaults() -> dict[str, Any]:
    """The content of `defaults.yaml`."""
    with as_file(files("defuse.debugging") / "defaults.yaml") as path:
        content = load_plain_yaml(path)
    assert isinstance(content, dict)
    return content


def merged(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults with the changes in them; a mapping within one is merged in the same way."""
    result = dict(defaults)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result


def load_settings(path: Path | None = None, **changes: object) -> Debugging:
    """The defaults, changed by a file, and then by single keys.

    Args:
        path: a YAML file with any of the keys of `defaults.yaml`; None for none.
        changes: values of top-level keys, or mappings into their trees; None leaves a key as it is.

    Raises:
        ParamsError: a file that cannot be read, a key that is unknown, or a value that is not allowed.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    return checked(merged(merged(load_defaults(), own_keys(path)), given), path or Path("settings"))


def settings_of_run(folder: RunFolder, path: Path | None = None) -> Debugging:
    """The settings that a run was made with, changed by a file.

    Raises:
        RunError: no run is in the folder.
        ParamsError: as `load_settings`.
    """
    return checked(merged(folder.read_facts()["settings"], own_keys(path)), path or folder.facts)


def own_keys(path: Path | None) -> dict[str, Any]:
    """The content of a user's file; nothing without one.

    Raises:
        ParamsError: it cannot be read, or holds no mapping.
    """
    own = {} if path is None else load_plain_yaml(path)
    if not isinstance(own, dict):
        held = "nothing" if own is None else f"{own!r:.40}"
        raise ParamsError(f"{path}: it holds {held}; allowed: keys of defuse/debugging/defaults.yaml")
    return own


def checked(content: dict[str, Any], where: Path) -> Debugging:
    """Settings from what a file holds.

    Raises:
        ParamsError: a line for each key that is unknown, and each value that is not allowed.
    """
    problems = problems_of(Debugging, content)
    if problems:
        raise ParamsError("\n".join(describe(problem, where, Debugging) for problem in problems))
    return Debugging.model_validate(content)
