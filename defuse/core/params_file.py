"""Reading `params.yaml`: every problem in it as one line for its reader.

In the file, a stage may hold `default` beside its data sets: what they merge into their own values. A value that is bad
there is said once, not for each data set that takes it over.
"""

import difflib
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, RootModel, TypeAdapter, ValidationError

from defuse.core.errors import ParamsError
from defuse.core.params import DatasetName, Settings
from defuse.core.plain_yaml import load_plain_yaml

DEFAULT = "default"
Problem = Mapping[str, Any]  # pydantic's: place, kind, bad value and message

VALUES = reprlib.Repr()  # a long value is shown by its beginning
VALUES.maxlevel, VALUES.maxdict, VALUES.maxlist, VALUES.maxstring, VALUES.maxother = 4, 8, 12, 80, 80

# In the words of a file's reader where pydantic's are a programmer's.
PHRASES = {
    "tuple_type": "Input should be a list",
    "too_short": "Input should hold at least {min_length} item(s)",
    "dict_type": "Input should be a mapping of keys to values",
    "model_type": "Input should be a mapping of keys to values",
    "bool_type": "Input should be true or false",
    "less_than_equal": "Input should be less than or equal to {le:.12g}",
}


def content_of(annotation: Any) -> Any:  # noqa: ANN401 (annotations have no common type)
    """The mapping that a model which is one stands for; any other annotation as it is."""
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return annotation.model_fields["root"].annotation
    return annotation


def annotation_at(path: tuple[str | int, ...], model: type[BaseModel] = Settings) -> Any:  # noqa: ANN401
    """Type annotation of what `path` leads to, found by walking `model` down; None for an unknown path."""
    found: Any = model
    for key in path:
        found = content_of(found)
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


def keys_allowed(path: tuple[str | int, ...], model: type[BaseModel]) -> list[str]:
    """Keys that the mapping at `path` of `model` may hold."""
    found = content_of(annotation_at(path, model))
    if get_origin(found) is not dict:
        return list(found.model_fields)
    names = list(get_args(get_args(found)[0]))
    return [DEFAULT, *names] if names == list(get_args(DatasetName)) else names


def describe(error: Problem, path: Path, model: type[BaseModel] = Settings) -> str:
    """One line for one error of pydantic's about `model`: file, key path, bad value, what is allowed."""
    location, kind, value = error["loc"], error["type"], error["input"]
    where = f"{path}: {'.'.join(str(part) for part in location if part != '[key]') or 'the whole file'}"
    if kind == "extra_forbidden":
        return unknown_key(where, str(location[-1]), keys_allowed(location[:-1], model))
    if kind == "missing":
        return f"{where}: this key is missing"
    if kind == "literal_error" and location[-1] == "[key]":
        return unknown_key(where, str(value), keys_allowed(location[:-2], model))
    message = str(PHRASES.get(kind, error["msg"])).format(**error.get("ctx", {})).removeprefix("Value error, ")
    if type(None) in get_args(annotation_at(location, model)) and kind != "value_error":
        message += " or null"
    if kind == "value_error" and len(location) == 1 and isinstance(value, dict):
        return f"{where}: {message}"
    shown = "null" if value is None else VALUES.repr(value)
    return f"{where}: {shown} is not allowed: {message}"


def problems_of(
    checked: Any,  # noqa: ANN401 (annotations have no common type)
    content: object,
    place: tuple[str | int, ...] = (),
) -> list[Problem]:
    """What is wrong with `content`, which stands at `place`, as a value of the type `checked`."""
    try:
        TypeAdapter(checked).validate_python(content)
    except ValidationError as error:
        # pydantic counts only a list's good items: one that is long enough has a line for its bad item already.
        return [
            {**item, "loc": (*place, *item["loc"])}
            for item in error.errors()
            if item["type"] != "too_short" or len(item["input"]) < item["ctx"]["min_length"]
        ]
    return []


def split_defaults(content: object) -> tuple[object, list[Problem]]:
    """The content without the stages' defaults, and what is wrong with these; a default need not hold every key."""
    if not isinstance(content, dict):
        return content, []
    rest, problems = {}, []
    for stage, part in content.items():
        rest[stage] = part
        if isinstance(part, dict) and DEFAULT in part and get_origin(annotation_at((stage,))) is dict:
            rest[stage] = {name: values for name, values in part.items() if name != DEFAULT}
            found = problems_of(annotation_at((stage, "digits")), part[DEFAULT], (stage, DEFAULT))
            problems += [problem for problem in found if problem["type"] != "missing"]
    return rest, problems


def identity(problem: Problem) -> tuple[Any, ...]:
    """What two problems share if they are one: a default's, and its copy in a data set."""
    stage, _, *inner = problem["loc"]
    return stage, *inner, problem["type"], VALUES.repr(problem["input"])


def load_params(path: Path) -> Settings:
    """Read and check `params.yaml`.

    Raises:
        ParamsError: with one line for each problem, naming the file, the key path, the bad value and what is
            allowed.
    """
    content, problems = split_defaults(load_plain_yaml(path))
    of_defaults = {identity(problem) for problem in problems}
    found = problems_of(Settings, content)
    problems += [problem for problem in found if len(problem["loc"]) < 2 or identity(problem) not in of_defaults]
    if problems:
        raise ParamsError("\n".join(describe(problem, path) for problem in problems))
    return Settings.model_validate(content)
