"""Reading a YAML file of plain values: mappings with names as keys, lists, words, numbers, true, false and null.

What YAML allows beyond that (tags, dates, keys that are no words, anchors that hold themselves or grow without bound)
is refused by its line, before it becomes a value; so is whatever YAML's own reader trips over.
"""

from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, DocumentStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from defuse.core.errors import ParamsError

TAG = "tag:yaml.org,2002:"
PLAIN = {TAG + name for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}
NO_TAGS = "allowed: plain values without tags"
MAXIMUM_DEPTH = 40
MAXIMUM_VALUES = 100_000  # once aliases are written out; the shipped file has about 2,500
MAXIMUM_LENGTH = 100  # characters of a key or a whole number; Python reads no decimal of more than 4,300


class NotPlainError(ValueError):
    """A value that YAML allows and this reader does not; the message names its line."""


def shortened(text: str, length: int = 60) -> str:
    """The text on one line, with only printable characters, cut after `length`."""
    text = " ".join(text.split())
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= length else f"{text[:length]}..."


def kind_of(node: Node) -> str:
    """YAML's name for a node's type."""
    return str(node.tag).removeprefix(TAG)


def check_scalar(node: ScalarNode, line: int) -> None:
    """Refuse a date, and a whole number too long to be meant.

    Raises:
        NotPlainError: it is one.
    """
    if node.tag == TAG + "timestamp":
        raise NotPlainError(f"line {line}: {shortened(node.value)} is a date for YAML; allowed: in quotes, or none")
    if node.tag == TAG + "int" and len(node.value) > MAXIMUM_LENGTH:
        raise NotPlainError(
            f"line {line}: a whole number of {len(node.value)} characters; allowed: at most {MAXIMUM_LENGTH}"
        )


def check_key(node: Node, line: int) -> None:
    """Refuse a key that is no word.

    Raises:
        NotPlainError: it is none.
    """
    if not isinstance(node, ScalarNode):
        raise NotPlainError(f"line {line}: a list or mapping is a key; allowed: a word")
    check_scalar(node, line)
    if node.tag not in (TAG + "str", TAG + "merge"):
        kind = kind_of(node)
        raise NotPlainError(f"line {line}: the key '{shortened(node.value)}' is of YAML's type {kind}; allowed: a word")
    if not node.value.isprintable() or not 0 < len(node.value) <= MAXIMUM_LENGTH:
        allowed = f"1 to {MAXIMUM_LENGTH} printable characters"
        raise NotPlainError(f"line {line}: the key '{shortened(node.value)}'; allowed: {allowed}")


def check_events(text: str) -> None:
    """Refuse directives, tags, an anchor named twice, and a depth at which YAML's reader in C would overrun its stack.

    Raises:
        NotPlainError: it is such a file.
    """
    depth, anchors = 0, set()
    for event in YAML(typ="safe").parse(text):
        line = event.start_mark.line + 1
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAXIMUM_DEPTH:
            raise NotPlainError(f"line {line}: nested more than {MAXIMUM_DEPTH} levels deep")
        if isinstance(event, DocumentStartEvent) and (event.version or event.tags):
            raise NotPlainError(f"line {line}: a directive, which begins with %; allowed: none")
        if getattr(event, "tag", None):
            raise NotPlainError(f"line {line}: the tag {shortened(str(event.tag).replace(TAG, '!!'))}; {NO_TAGS}")
        if isinstance(event, NodeEvent) and event.anchor and not isinstance(event, AliasEvent):
            if event.anchor in anchors:
                raise NotPlainError(f"line {line}: the anchor &{shortened(str(event.anchor))} is there twice")
            anchors.add(event.anchor)


def check_node(node: Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Depth of a node, and number of values below it once aliases are written out.

    Args:
        node: to measure and check.
        known: depth and number of the nodes already seen, by their `id`; None for those that hold this one.

    Raises:
        NotPlainError: the node, or one below it, is not plain.
    """
    line = node.start_mark.line + 1
    if id(node) in known:
        if (measured := known[id(node)]) is None:
            raise NotPlainError(f"line {line}: what an anchor names holds itself")
        return measured
    if node.tag not in PLAIN | {TAG + "timestamp"}:
        raise NotPlainError(f"line {line}: '{shortened(str(node.value))}' is of YAML's type {kind_of(node)}; {NO_TAGS}")
    known[id(node)] = None
    depth, values = 0, 1
    if isinstance(node, ScalarNode):
        check_scalar(node, line)
    else:
        children = [*node.value]
        if isinstance(node, MappingNode):
            for key, _ in node.value:
                check_key(key, key.start_mark.line + 1)
            children = [value for _, value in node.value]
        for child in children:
            below = check_node(child, known)
            depth, values = max(depth, 1 + below[0]), values + below[1]
    if depth > MAXIMUM_DEPTH:
        raise NotPlainError(f"line {line}: nested more than {MAXIMUM_DEPTH} levels deep")
    if values > MAXIMUM_VALUES:
        raise NotPlainError(f"line {line}: more than {MAXIMUM_VALUES} values once its aliases are written out")
    known[id(node)] = depth, values
    return depth, values


def reason(error: Exception, text: str) -> str:
    """What an error of YAML's reader says about the text, on one line."""
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"line {line}: the character {error.character:#04x} is not allowed"
    if not isinstance(error, MarkedYAMLError):
        return shortened(str(error), 200)
    parts = [part for part in (error.context, error.problem) if part]
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return shortened(", ".join(parts), 200)
    tab = "\t" in "".join(text.splitlines()[mark.line : mark.line + 1])
    hint = "; there is a tab, and YAML indents by spaces alone" if tab else ""
    return f"line {mark.line + 1}: {shortened(', '.join(parts), 200)}{hint}"


def read_text(path: Path) -> str:
    """The file as UTF-8, whatever the locale.

    Raises:
        ParamsError: it is missing, cannot be read, or is no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file") from None
    except OSError as error:
        raise ParamsError(f"{path}: not readable: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise ParamsError(f"{path}: not readable as YAML: line {line}: the byte {byte:#04x} is no UTF-8") from None


def load_plain_yaml(path: Path) -> object:
    """Read a YAML file of plain values, with anchors and merge keys written out.

    Raises:
        ParamsError: the file is missing or not readable, or not plain; one line, with the file and what is wrong.
    """
    text = read_text(path)
    yaml = YAML(typ="safe")
    try:
        check_events(text)
        node = yaml.compose(text)
        if node is None:
            return None
        check_node(node, {})
        return yaml.constructor.construct_document(node)
    except (YAMLError, ValueError, OverflowError) as error:
        raise ParamsError(f"{path}: not readable as YAML: {reason(error, text)}") from None
