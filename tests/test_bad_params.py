"""Every key of `params.yaml` with a wrong type, range and spelling, made from the models, new keys included.

Many bad values are put into one file, since all errors are listed at once. With `-s`, pytest prints how many were tried
and answered.
"""

import copy
import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from defuse.core.errors import ParamsError
from defuse.core.params import Settings
from defuse.core.params_file import load_params

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = Settings.model_json_schema()
TYPES = {  # of JSON schema: bad values, and what the message says is allowed
    "integer": (["seven", 1.5, True, [1], {"a": 1}], "a valid integer"),
    "number": (["seven", True, [0.5], {"a": 1}], "a valid number"),
    "boolean": (["yes", 1], "true or false"),
    "array": (["seven", 3, {"a": 1}], "a list"),
    "object": (["seven", 3, [1]], "a mapping of keys to values"),
}
BOUNDS = {  # of JSON schema: the nearest value that is out of range, and what the message says is allowed
    "minimum": (lambda bound: bound - 1, "greater than or equal to"),
    "maximum": (lambda bound: bound * 2, "less than or equal to"),
    "exclusiveMinimum": (lambda bound: bound, "greater than"),
    "exclusiveMaximum": (lambda bound: bound, "less than"),
}


def digits_alone():
    tree = json.loads(json.dumps(YAML(typ="safe").load(ROOT / "params.yaml")))  # no value is one object with another
    tree = {
        stage: {"digits": part["digits"]} if isinstance(part, dict) and "digits" in part else part
        for stage, part in tree.items()
    }
    return {**tree, "datasets": ["digits"], "seeds": [0], "study_seeds": [0]}


def resolved(schema):
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def places(tree, schema, path=()):
    """Path and schema of every value below `tree`, mappings and items of lists included."""
    schema = resolved(schema)
    if path:
        yield path, schema
    if isinstance(tree, dict):
        for key, value in tree.items():
            inner = schema["properties"][key] if "properties" in schema else schema["additionalProperties"]
            yield from places(value, inner, (*path, key))
    elif isinstance(tree, list) and tree:
        yield from places(tree[0], schema["items"], (*path, 0))


def allowed_parts(schema):
    """The schema without null, and whether null is allowed."""
    parts = [resolved(part) for part in schema.get("anyOf", [schema])]
    return next(part for part in parts if part.get("type") != "null"), {"type": "null"} in parts


def listed(names):
    *first, last = map(repr, names)
    return f"{', '.join(first)} or {last}" if first else last


def bound_text(bound):
    return f"{bound:.12g}" if isinstance(bound, float) else str(bound)


def bad_values():
    """Path, bad value and the allowed that the message ends with: wrong types, words and ranges."""
    for path, schema in places(TREE, SCHEMA):
        part, nullable = allowed_parts(schema)
        end = " or null" if nullable else ""
        if path[-1] == "batch_size" and "identify" in path:  # its validator is a function of our own
            for value in ("seven", 0, 1.5, None, 2**63):
                yield path, value, "Input should be 'auto' or a whole number of at least 1"
            continue
        if "enum" in part or "const" in part:
            for value in ("nonsense", 3, True):
                yield path, value, f"Input should be {listed(part.get('enum', [part.get('const')]))}{end}"
        else:
            values, words = TYPES[part["type"]]
            for value in values:
                yield path, value, f"Input should be {words}{end}"
        if not nullable:
            yield path, None, "Input should be "
        for bound, (beyond, words) in BOUNDS.items():
            if bound in part:
                yield path, beyond(part[bound]), f"Input should be {words} {bound_text(part[bound])}{end}"
        if part.get("minItems", part.get("minProperties")):
            yield path, [] if part["type"] == "array" else {}, "Input should hold at least"
        if part.get("type") == "number":
            yield path, float("nan"), "Input should be a finite number" + end


def put(tree, path, value):
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


def rounds(cases):
    """The cases in groups in which no path leads through another."""
    groups = []
    for case in cases:
        for group in groups:
            if not any(case[0][: len(path)] == path[: len(case[0])] for path, *_ in group):
                group.append(case)
                break
        else:
            groups.append([case])
    return groups


def message_of(tmp_path, tree):
    file = tmp_path / "params.yaml"
    file.write_text(json.dumps(tree).replace("NaN", ".nan"), encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(file)
    return str(caught.value).replace(str(file), "FILE")


TREE = digits_alone()
VALUES = list(bad_values())
KEYS = [
    path
    for path, _ in places(TREE, SCHEMA)
    if isinstance(path[-1], str)
    and path[-1] not in ("digits",)
    and path[-2:-1] not in (("noises",), ("bugs",), ("searches",), ("arms",))
]  # whose keys are free


def dotted(path):
    return ".".join(map(str, path))


def test_every_key_and_every_kind_of_badness_is_there():
    assert len(KEYS) > 130 and len(VALUES) > 600
    assert {path[0] for path in KEYS} == set(Settings.model_fields) == {path[0] for path, _, _ in VALUES}


def is_said(said, lines):
    """Whether a line is `said`, or begins with it where it ends open."""
    return any(line == said or (said.endswith((" ", "least")) and line.startswith(said)) for line in lines)


def test_every_wrong_type_word_and_range(tmp_path):
    silent = []
    for group in rounds(VALUES):
        tree = copy.deepcopy(TREE)
        for path, value, _ in group:
            put(tree, path, value)
        lines = message_of(tmp_path, tree).splitlines()
        for path, value, allowed in group:
            shown = "null" if value is None else repr(value)
            said = f"FILE: {dotted(path)}: {shown} is not allowed: {allowed}"
            silent += [] if is_said(said, lines) else [said]
    print(f"bad values answered: {len(VALUES) - len(silent)} of {len(VALUES)}")
    assert silent == []


def test_every_misspelling_has_a_hint(tmp_path):
    tree = copy.deepcopy(TREE)
    for *path, key in KEYS:
        put(tree, (*path, f"{key}x"), 1)
    lines = message_of(tmp_path, tree).splitlines()
    said = [f"FILE: {dotted(path)}x: unknown key; did you mean {path[-1]}? (allowed: " for path in KEYS]
    silent = [start for start in said if not any(line.startswith(start) for line in lines)]
    print(f"misspellings answered: {len(KEYS) - len(silent)} of {len(KEYS)}")
    assert silent == [] and len(lines) == len(KEYS)


@pytest.mark.parametrize("stage", [name for name, part in TREE.items() if isinstance(part, dict) and "digits" in part])
def test_a_misspelt_data_set_has_a_hint(tmp_path, stage):
    tree = copy.deepcopy(TREE)
    tree[stage]["digts"] = tree[stage].pop("digits")
    said = f"FILE: {stage}.digts: unknown key; did you mean digits? (allowed: default, digits, mnist, svhn, gtsrb)"
    assert message_of(tmp_path, tree).splitlines() == [said]


def test_combinations_and_single_values_are_said_at_once(tmp_path):
    tree = copy.deepcopy(TREE)
    tree["datasets"], tree["seeds"] = ["digits", "mnist"], [0, 0]
    tree["compute"]["threads"] = 0
    tree["train_classifier"]["digits"]["network"]["stem"] = "cifar"
    tree["train_vae"]["digits"]["momentum"] = 0.9
    tree["identify"]["digits"] |= {"keep": 100, "draws": 5, "seed_source": "validation"}
    tree["correct"]["digits"] |= {"lambdas": [1.0, 0.0], "steps": -1}
    message = message_of(tmp_path, tree)
    for said in (
        "FILE: seeds: [0, 0] is not allowed: Input should hold no value twice",
        "FILE: compute.threads: 0 is not",
        "FILE: train_classifier.digits.network.stem: 'cifar' is not allowed: Input should be null with small_cnn",
        "FILE: train_vae.digits.momentum: 0.9 is not allowed: Input should be null with adam",
        "FILE: identify.digits.keep: 100 is not allowed: Input should be at most draws (5)",
        "FILE: identify.digits.seed_source: 'validation' is not allowed",
        "FILE: correct.digits.lambdas: [1.0, 0.0] is not allowed: Input should start with 0",
        "FILE: correct.digits.steps: -1 is not allowed",
        "FILE: prepare: mnist is missing, and datasets names it",
    ):
        assert said in message
    # Where a stage's own values are right, its missing data set is said too.
    assert message.count("mnist is missing, and datasets names it") == 18


def test_a_folder_is_no_file_of_parameters(tmp_path):
    with pytest.raises(ParamsError) as caught:
        load_params(tmp_path)
    assert str(caught.value) == f"{tmp_path}: not readable: Is a directory"
