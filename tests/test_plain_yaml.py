"""Values that YAML reads and nobody expects in `params.yaml`: one line each, with the file and what is wrong."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from defuse.core import plain_yaml
from defuse.core.errors import ParamsError
from defuse.core.params_file import load_params
from defuse.core.plain_yaml import load_plain_yaml

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = (ROOT / "params.yaml").read_bytes()
LAUGHS = [f"{name}: &{name} [{', '.join(['*' + former] * 9)}]" for former, name in zip("abcdefgh", "bcdefghi")]
MERGED_LAUGHS = [
    f"{name}: &{name} {{<<: [{', '.join(['*' + former] * 9)}]}}" for former, name in zip("abcdefg", "bcdefgh")
]
CHAIN = [f"a{number}: &a{number} [*a{number - 1}]" for number in range(1, 1500)]
CASES = {  # what the file holds, and what is said of it
    "a date that does not exist": (b"recorded: 2024-02-30\n", "line 1: 2024-02-30 is a date"),
    "a date that exists": (b"seeds: [2024-02-28]\n", "line 1: 2024-02-28 is a date"),
    "a date as key": (b"seeds: [0]\n2024-02-30: 1\n", "line 2: 2024-02-30 is a date"),
    "a date before all dates": (b"a: 0001-01-01T00:00:00+05:00\n", "line 1: 0001-01-01T00:00:00+05:00 is a date"),
    "a time that does not exist": (b"a: 2001-12-14t21:99:43.10-05:00\n", "line 1: 2001-12-14t21:99:43.10-05:00 is a d"),
    "5,000 digits": (b"seeds: [" + b"9" * 5000 + b"]\n", "line 1: a whole number of 5000 characters; allowed: at most"),
    "5,000 hexadecimal digits": (b"a: 0x" + b"f" * 5000, "line 1: a whole number of 5002 characters"),
    "digits as key": (b"? " + b"9" * 5000 + b"\n: 1\n", "line 1: a whole number of 5000 characters"),
    "1,000 brackets": (b"a:\n " + b"[" * 1000 + b"]" * 1000, "line 2: nested more than 40 levels deep"),
    "100,000 open brackets": (b"[" * 100_000, "line 1: nested more than 40 levels deep"),
    "1,000 mappings": (b"a: " + b"{a: " * 1000 + b"}" * 1000, "line 1: nested more than 40 levels deep"),
    "1,000 indentations": (b"".join(b" " * n + b"a:\n" for n in range(1000)), "line 41: nested more than 40 levels"),
    "a chain of anchors": ("\n".join(["a0: &a0 [1]", *CHAIN]).encode(), "line 41: nested more than 40 levels deep"),
    "a key twice": (b"seeds: [0]\nseeds: [1]\n", 'line 2: while constructing a mapping, found duplicate key "seeds"'),
    "a key twice, inside": (b"a: {b: 1, b: 2}\n", 'line 1: while constructing a mapping, found duplicate key "b"'),
    "two merges": (
        b"a: &a {x: 1}\nb: {<<: *a, <<: *a}\n",
        "line 2: while constructing a mapping, found duplicate merge",
    ),
    "a tab": (b"a:\n\tb: 1\n", "line 2: while scanning for the next token, found character"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "line 1: the byte 0xff is no UTF-8"),
    "Latin-1": ("a: 1\nb: é\n".encode("latin-1"), "line 2: the byte 0xe9 is no UTF-8"),
    "a control character": (b"a: 1\nb: \x07\n", "line 2: the character 0x07 is not allowed"),
    "a zero byte": (b"a: \x00\n", "line 1: the character 0x00 is not allowed"),
    "Python code": (
        b"a: !!python/object/apply:os.getcwd []\n",
        "line 1: the tag !!python/object/apply:os.getcwd; allo",
    ),
    "a tag of one's own": (b"a: !x 1\n", "line 1: the tag !x; allowed: plain values without tags"),
    "a set": (b"seeds: !!set {a, b}\n", "line 1: the tag !!set; allowed"),
    "bytes": (b"a: !!binary aGk=\n", "line 1: the tag !!binary; allowed"),
    "a bool that is none": (b"a: !!bool 7\n", "line 1: the tag !!bool; allowed"),
    "an equals sign": (b"a: =\n", "line 1: '=' is of YAML's type value; allowed: plain values without tags"),
    "a digit that is none": (b"a: 0x_\n", "invalid literal for int()"),
    "a list in itself": (b"b: 1\na: &a [*a]\n", "line 2: what an anchor names holds itself"),
    "a merge of itself": (b"a: &a {<<: *a}\n", "line 1: what an anchor names holds itself"),
    "a mapping in itself": (b"a: &a {b: {c: *a}}\n", "line 1: what an anchor names holds itself"),
    "billion laughs": (
        "\n".join(["a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]", *LAUGHS]).encode(),
        "line 6: more than 100000 v",
    ),
    "laughs by merge": ("\n".join(["a: &a {x: 1, y: 2}", *MERGED_LAUGHS]).encode(), "line 6: more than 100000 values"),
    "an anchor twice": (b"a: &a 1\nb: &a 2\n", "line 2: the anchor &a is there twice"),
    "an unknown anchor": (b"a: *x\n", "line 1: found undefined alias"),
    "a number as key": (b"5: 1\n", "line 1: the key '5' is of YAML's type int; allowed: a word"),
    "null as key": (b"~: 1\n", "line 1: the key '~' is of YAML's type null; allowed: a word"),
    "true as key": (b"claims: {true: 1}\n", "line 1: the key 'true' is of YAML's type bool; allowed: a word"),
    "a list as key": (b"[1, 2]: 1\n", "line 1: a list or mapping is a key; allowed: a word"),
    "a mapping as key": (b"? {a: 1}\n: 1\n", "line 1: a list or mapping is a key; allowed: a word"),
    "a line end in a key": (b'"a\\nb": 1\n', "line 1: the key 'a b'; allowed: 1 to 100 printable characters"),
    "a long key": (b"? " + b"k" * 2000 + b"\n: 1\n", f"line 1: the key '{'k' * 60}...'; allowed: 1 to 100"),
    "an empty key": (b"'': 1\n", "line 1: the key ''; allowed: 1 to 100 printable characters"),
    "a merge of a number": (b"a: {<<: 5}\n", "line 1: while constructing a mapping, expected a mapping"),
    "a merge of a list": (b"b: &b [1]\na: {<<: *b}\n", "line 1: while constructing a mapping, expected a mapping"),
    "a merge of nothing": (b"a: {<<: }\n", "line 1: while constructing a mapping, expected a mapping"),
    "two documents": (b"a: 1\n---\nb: 1\n", "line 2: expected a single document in the stream"),
    "a directive": (b"%YAML 1.1\n---\na: yes\n", "a directive, which begins with %; allowed: none"),
    "another YAML": (b"%YAML 3.0\n---\na: 1\n", "line 1: found incompatible YAML document"),
    "an open bracket": (b"seeds: [0\n", "line 2: while parsing a flow sequence"),
    "an open quote": (b'a: "x\n', "line 2: while scanning a"),
    "a character beyond Unicode": (b'a: "\\UFFFFFFFF"\n', ""),
}


@pytest.fixture(params=[False, True], ids=["in C", "in Python"])
def reader(request, monkeypatch):
    """ruamel.yaml's reader, in C where it is installed and in Python."""
    monkeypatch.setattr(plain_yaml, "YAML", functools.partial(YAML, pure=request.param))


def message_of(path, load=load_params):
    with pytest.raises(ParamsError) as caught:
        load(path)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize("case", CASES)
def test_what_nobody_expects_is_one_line(tmp_path, reader, case):
    content, said = CASES[case]
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    message = message_of(path)
    assert message.startswith("FILE: not readable as YAML: ") and said in message
    assert len(message.splitlines()) == 1 and message.isprintable() and len(message) < 300


@pytest.mark.parametrize("line", [b"2024-02-30: 1", b"recorded: 2024-02-30", b"a: &a [*a]", b"a: " + b"[" * 1000])
def test_the_shipped_file_with_one_bad_line_names_that_line(tmp_path, reader, line):
    path = tmp_path / "params.yaml"
    path.write_bytes(SHIPPED + line)
    assert message_of(path).startswith(f"FILE: not readable as YAML: line {SHIPPED.count(10) + 1}: ")


@pytest.mark.parametrize("change", [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")])
def test_a_byte_order_mark_and_converted_line_ends_change_nothing(tmp_path, reader, change):
    path = tmp_path / "params.yaml"
    path.write_bytes(change(SHIPPED))
    assert load_params(path) == load_params(ROOT / "params.yaml")


def test_both_readers_read_the_shipped_file_as_dvc_does(reader):
    assert load_plain_yaml(ROOT / "params.yaml") == YAML(typ="safe").load(SHIPPED)


@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE.ISO-8859-1"])
def test_the_file_is_utf8_under_any_locale(tmp_path, locale):
    path = tmp_path / "params.yaml"
    path.write_text("naïveté: 'Grüße'\n", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from defuse.core.plain_yaml import load_plain_yaml; "
        "sys.stdout.buffer.write(repr(load_plain_yaml(Path(sys.argv[1]))).encode('utf-8'))"
    )
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, path], env=environment, cwd=ROOT, capture_output=True, check=True
    )
    assert done.stdout.decode("utf-8") == "{'naïveté': 'Grüße'}"


@given(
    st.integers(0, len(SHIPPED)),
    st.integers(0, 30),
    st.text("[]{}:,-&*!<>=%@`'\"\\\t\n 0x_.~2024-01aé\x07\ufeff", max_size=8),
)
def test_any_slip_of_the_keyboard_is_read_or_refused(tmp_path_factory, start, length, typed):
    path = tmp_path_factory.mktemp("slip") / "params.yaml"
    path.write_bytes(SHIPPED[:start] + typed.encode() + SHIPPED[start + length :])
    said = ""
    try:
        load_params(path)
    except ParamsError as error:
        said = str(error)
    assert all(line.startswith(f"{path}: ") and line.isprintable() for line in said.splitlines())


def test_a_long_bad_value_is_shown_by_its_beginning(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(
        b"datasets: " + b"x" * 5000 + b"\nseeds: {" + b", ".join(b"a%d: 1" % n for n in range(5000)) + b"}\n"
    )
    lines = message_of(path).splitlines()
    for key in ("datasets", "seeds"):
        (line,) = (line for line in lines if line.startswith(f"FILE: {key}: "))
        assert "..." in line and line.endswith("is not allowed: Input should be a list") and len(line) < 250
