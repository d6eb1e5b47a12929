"""Reads YAML into plain data that remembers its place, so that every error can name the file, the line and the key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import yaml

from ..errors import CostmodelError, unknown
from ..sizes.size import LARGEST, is_int
from .reading import LARGEST as LARGEST_OF

LONGEST = LARGEST_OF["text"]  # characters
LONGEST_NUMBER = 400  # characters; to read a number takes the square of its length
MOST_TOKENS = 4_000_000  # words and marks
DEEPEST = 20  # levels of nesting
TOO_DEEP = f"nested deeper than {DEEPEST} levels"
LARGEST_FACTOR = 1000  # upper bound of a ratio


class Block(dict):
    """A YAML mapping with its file, its path in the document and its line."""

    def __init__(self, source: str, place: str, line: int) -> None:
        super().__init__()
        self.source, self.place, self.line = source, place, line
        self.lines: dict[str, int] = {}  # the line of each key

    def error(self, message: object, key: str | None = None) -> CostmodelError:
        """An error at this mapping, or at one of its keys."""
        place = ".".join(filter(None, (self.place, key)))
        line = self.lines.get((key or "").partition("[")[0], self.line)
        return CostmodelError(f"{self.source}, line {line}{', ' + place if place else ''}: {message}")

    def only(self, keys: Iterable[str]) -> Block:
        """This mapping reduced to the given keys."""
        part = Block(self.source, self.place, self.line)
        part.update({key: self[key] for key in keys if key in self})
        part.lines = self.lines
        return part


class Field(NamedTuple):
    """What a key may hold: a value of one of the types, at least `least` or greater than `above`.

    An int is also accepted as a float; a bool is accepted as neither.
    """

    types: tuple[type, ...]
    default: Any = None
    required: bool = False
    least: int | None = None
    above: float | None = None


def parse(text: str, source: str) -> Block:
    """The mapping in a YAML text. Raises CostmodelError for anything that is not plain data."""
    if len(text) > LONGEST:
        raise CostmodelError(f"{source}: {len(text)} characters; allowed: at most {LONGEST}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_tokens(text, loader, source)
        root = yaml.compose(text, Loader=loader)
        constructor = yaml.SafeLoader("")
        if not isinstance(root, yaml.MappingNode):
            raise CostmodelError(f"{source}: found {_kind(root)}; allowed: a mapping (key: value)")
        return _convert(root, source, "", constructor, 0)
    except RecursionError:
        raise CostmodelError(f"{source}: {TOO_DEEP}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).split("\n")[0] or type(error).__name__
        raise CostmodelError(f"{source}{line}: not valid YAML: {problem}") from None


_OPENING = (yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken,
            yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken)  # fmt: skip
_CLOSING = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)


def _check_tokens(text: str, loader: type, source: str) -> None:
    """Refuse input that could grow without bound when parsed: deep nesting, and aliases, which no spec needs.

    It reads the scanner's tokens only, since the parser behind the scanner recurses.
    """
    depth = 0
    try:
        for number, token in enumerate(yaml.scan(text, Loader=loader)):
            if number >= MOST_TOKENS:
                raise CostmodelError(f"{source}: more than {MOST_TOKENS:,} words and marks, which are the most")
            where = f"{source}, line {token.start_mark.line + 1}"
            if isinstance(token, (yaml.AliasToken, yaml.AnchorToken)):
                raise CostmodelError(f"{where}: anchors and aliases (& and *) are not allowed")
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > DEEPEST:
                raise CostmodelError(f"{where}: {TOO_DEEP}")
    except yaml.YAMLError as error:
        # The scanner may reach a limit of its own while it looks ahead, before it yields these tokens.
        mark = getattr(error, "problem_mark", None)
        if mark and _left_open(text[: mark.index]) > DEEPEST:
            raise CostmodelError(f"{source}, line {mark.line + 1}: {TOO_DEEP}") from None
        raise


def _left_open(text: str) -> int:
    """The number of brackets in a text that are not closed."""
    return text.count("[") + text.count("{") - text.count("]") - text.count("}")


def _kind(node: yaml.Node | None) -> str:
    return {"sequence": "a list", "scalar": "a single value"}.get(getattr(node, "id", ""), "nothing")


def _convert(node: yaml.Node, source: str, place: str, constructor: yaml.SafeLoader, depth: int) -> Any:
    line = node.start_mark.line + 1
    where = f"{source}, line {line}{', ' + place if place else ''}"
    if depth > DEEPEST:
        raise CostmodelError(f"{where}: {TOO_DEEP}")
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        raise CostmodelError(f"{where}: tag {node.tag!r} is not allowed; allowed: plain values, lists and mappings")
    if isinstance(node, yaml.SequenceNode):
        return [_convert(item, source, f"{place}[{i}]", constructor, depth + 1) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        block = Block(source, place, line)
        for key_node, value in node.value:
            key = key_node.value
            if not isinstance(key, str):
                raise CostmodelError(f"{where}: a key that is no text")
            if key in block:
                raise CostmodelError(f"{source}, line {key_node.start_mark.line + 1}: the key {key!r} stands twice")
            block.lines[key] = key_node.start_mark.line + 1
            block[key] = _convert(value, source, f"{place}.{key}" if place else key, constructor, depth + 1)
        return block
    if node.tag.endswith((":int", ":float")) and len(node.value) > LONGEST_NUMBER:
        raise CostmodelError(f"{where}: {node.value[:40]} does not fit into 64 bits")
    try:
        value = constructor.construct_object(node)
    except Exception:  # of any kind: PyYAML converts a value by its tag without checking that it fits
        raise CostmodelError(f"{where}: {node.value[:40]!r} is no {node.tag.rpartition(':')[2]}") from None
    if isinstance(value, int) and abs(value) > LARGEST:
        raise CostmodelError(f"{where}: {str(value)[:40]} does not fit into 64 bits")
    return value


def write(value: Any, flow: bool = False) -> str:
    """A value as YAML text without a final newline. flow: on one line."""
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=flow, width=10**6).rstrip()


def read(block: Block, schema: Mapping[str, Field]) -> dict[str, Any]:
    """The values of a mapping, with the schema's defaults. Raises CostmodelError for an unknown, missing or bad one."""
    for key in block:
        if key not in schema:
            raise block.error(unknown("key", key, schema))
    values = {}
    for key, field in schema.items():
        if key not in block:
            if field.required:
                raise block.error(f"{key!r} is missing")
            values[key] = field.default
            continue
        values[key] = _checked(block, key, block[key], field)
    return values


def _checked(block: Block, key: str, value: Any, field: Field) -> Any:
    names = " or ".join(_NAMES[t] for t in field.types)
    fits = any(_is(value, t) for t in field.types)
    if not fits:
        raise block.error(f"found {value!r}; allowed: {names}", key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if field.least is not None and value < field.least:
            raise block.error(f"found {value!r}; allowed: {names} >= {field.least}", key)
        if field.above is not None and not field.above < value <= LARGEST_FACTOR:
            raise block.error(f"found {value!r}; allowed: {names} > {field.above}, at most {LARGEST_FACTOR}", key)
    if isinstance(value, list) and int in field.types and not (len(value) == 2 and all(map(is_int, value))):
        raise block.error(f"found {value!r}; allowed: an integer or a list of two", key)
    return value


_NAMES = {int: "an integer", float: "a number", str: "a text", bool: "true or false", list: "a list", dict: "a mapping"}


def _is(value: Any, wanted: type) -> bool:
    if wanted is int:
        return is_int(value)
    if wanted is float:
        return is_int(value) or (isinstance(value, float) and abs(value) < float("inf"))
    return isinstance(value, wanted)
