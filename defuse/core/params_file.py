"""Reading `params.yaml`: every problem in it as one line for its reader."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from defuse.core.errors import ParamsError
from defuse.core.params import DatasetName, Settings

# In the words of a file's reader where pydantic's are a programmer's.
PHRASES = {
    "tuple_type": "Input should be a list",
    "too_short": "Input should hold at least {min_length} item(s)",
    "dict_type": "Input should be a mapping of keys to values",
    "model_type": "Input should be a mapping of keys to values",
    "bool_type": "Input should be true or false",
    "less_than_equal": "Input should be less than or equal to {le:.12g}",
}


def annotation_at(path: tuple[str | int, ...]) -> Any:
    """Type annotation of what `path` leads to, found by walking the models down; None for an unknown path."""
    found: Any = Settings
    for key in path:
        if isinstance(found, type) and issubclass(found, BaseModel):
            field = found.model_fields.get(str(key))
            found = field.annotation if field else None
        else:
            parts = get_args(found)  # of dict[key, value] or tuple[item, ...]
            found = (parts[1] if get_origin(found) is dict else parts[0]) if parts else None
    return found


def unknown_key(where: str, key: str, allowed: list[str]) -> str:
    """Message about a key that is none of `allowed`, with the nearest of them."""
    close = difflib.get_close_matches(key, allowed, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{where}: unknown key{hint} (allowed: {', '.join(allowed)})"


def describe(error: Mapping[str, Any], path: Path) -> str:
    """One line for one error of pydantic's: file, key path, bad value, what is allowed."""
    location, kind, value = error["loc"], error["type"], error["input"]
    where = f"{path}: {'.'.join(str(part) for part in location if part != '[key]') or 'the whole file'}"
    if kind == "extra_forbidden":
        parent = annotation_at(location[:-1])
        return unknown_key(where, str(location[-1]), list(parent.model_fields))
    if kind == "missing":
        return f"{where}: this key is missing"
    if kind == "literal_error" and location[-1] == "[key]":
        return unknown_key(where, str(value), list(get_args(DatasetName)))
    message = PHRASES.get(kind, error["msg"]).format(**error.get("ctx", {})).removeprefix("Value error, ")
    if type(None) in get_args(annotation_at(location)) and kind != "value_error":
        message += " or null"
    if kind == "value_error" and isinstance(value, dict):
        return f"{where}: {message}"
    shown = "null" if value is None else repr(value)
    return f"{where}: {shown} is not allowed: {message}"


def load_params(path: Path) -> Settings:
    """Read and check `params.yaml`.

    Raises:
        ParamsError: with one line for each problem, naming the file, the key path, the bad value and what is
            allowed.
    """
    try:
        content = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file") from None
    except YAMLError as error:
        raise ParamsError(f"{path}: not readable as YAML: {error}") from None
    except OSError as error:
        raise ParamsError(f"{path}: not readable: {error.strerror}") from None
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        # pydantic counts only a list's good items: one that is long enough has a line for its bad item already.
        problems = [
            item
            for item in error.errors()
            if item["type"] != "too_short" or len(item["input"]) < item["ctx"]["min_length"]
        ]
        raise ParamsError("\n".join(describe(item, path) for item in problems)) from None
