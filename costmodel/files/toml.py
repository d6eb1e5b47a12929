"""Reads TOML files, and finds where their tables stand. Before Python 3.11 the package tomli reads them."""

from __future__ import annotations

import re
import sys
from typing import Any

from ..errors import CostmodelError
from .document import Block
from .reading import text_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?")
DEEPEST = 100  # parts of a key: what Python's reader takes for one grows with their square
_DOTTED = re.compile(r"[\w\"'-]+(?:[ \t]*\.[ \t]*[\w\"'-]+)*")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")


def read_toml(path: str) -> tuple[dict[str, Any], str]:
    """The data of a TOML file, and its text. Raises CostmodelError if it cannot be read, with the line."""
    text = text_of(path, "code")
    for key in _DOTTED.finditer(text):
        if key[0].count(".") > DEEPEST:
            line = text.count("\n", 0, key.start()) + 1
            raise CostmodelError(f"{path}, line {line}: a key of more than {DEEPEST} parts")
    try:
        return tomllib.loads(text), text
    except RecursionError:
        raise CostmodelError(f"{path}: nested too deep") from None
    except ValueError as error:  # its own TOMLDecodeError, and that of a number with thousands of digits
        raise CostmodelError(f"{path}: not valid TOML: {error}") from None


def located(table: dict[str, Any], source: str, place: str, lines: dict[str, int]) -> Block:
    """A table of a TOML file, with its place in words and the lines of its header (as "") and its keys."""
    block = Block(source, place, lines[""])
    block.update(table)
    block.lines = lines
    return block


def lines_of(text: str, name: str, number: int) -> list[dict[str, int]]:
    """The lines of the headers (as "") and of the keys of the tables with a name, of which there are `number`.

    The reader of TOML tells no lines, so they are looked for. Where the tables are written in another way, as inline
    ones, all have the line on which the last part of the name stands first.
    """
    lines = text.splitlines()
    found: list[dict[str, int]] = []
    within = False
    for i, line in enumerate(lines, 1):
        if header := _HEADER.fullmatch(line):
            within = re.sub(r"\s", "", header[1]) == name
            if within:
                found.append({"": i})
        elif within and (key := _KEY.match(line)):
            found[-1].setdefault(key[1], i)
    if len(found) == number:
        return found
    last = name.rpartition(".")[2]
    return [{"": next((i for i, line in enumerate(lines, 1) if last in line), 1)} for _ in range(number)]
