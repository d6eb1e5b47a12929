"""Reads which steps have which budgets: `[tool.costmodel]` of pyproject.toml.

Each table `[[tool.costmodel.check]]` is a step and its budget. `[tool.costmodel]` has the keys that they share.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ... import conventions, targets
from ...errors import CostmodelError
from ...escapes import visible
from ...files.document import Block, Field, read
from ...files.toml import lines_of, located, read_toml
from ...graph.inputs import read_inputs, read_resolution
from ...ops._named_loss import find_loss
from ...sizes.dtype import find_amp, find_dtype
from ...sizes.units import parse_size
from ...step import optimizer
from ...step.request import DEFAULTS

FILE = "pyproject.toml"
TOOL = "tool.costmodel"
TABLE = f"{TOOL}.check"
EXAMPLE = f'[[{TABLE}]] with network = "mobilenet_v2" and budget = "256MiB"'

#: Keys that checks may share.
SHARED = {
    "network": Field((str,)),
    "budget": Field((str, int)),
    "strategy": Field((str,)),
    "batch": Field((int,), least=1),
    "resolution": Field((int, str)),
    "classes": Field((int,), least=1),
    "width": Field((float,), above=0),
    "convention": Field((str,)),
    "optimizer": Field((str,)),
    "target": Field((str,)),
    "dtype": Field((str,)),
    "amp": Field((str,)),
    "accumulate": Field((int,), least=1),
    "inputs": Field((list,)),
    "loss": Field((str,)),
    "targets": Field((str,)),
    "blocks_are": Field((str,)),
    "allow_unknown": Field((bool,)),
    "strict": Field((bool,)),
}
#: What reads a value, and raises CostmodelError if it is wrong by itself, whatever the network.
READERS: dict[str, Callable[[Any], object]] = {
    "budget": lambda budget: parse_size(str(budget)),
    "convention": conventions.find,
    "optimizer": optimizer.find,
    "target": targets.parse,
    "dtype": find_dtype,
    "amp": find_amp,
    "resolution": read_resolution,
    "inputs": lambda inputs: read_inputs([str(one) for one in inputs]),
    "loss": lambda loss: loss if ":" in loss else find_loss(loss),
}
KEYS = {"name": Field((str,)), **SHARED}
#: A name stands in tables, in workflow commands and in XML.
NAME = re.compile(r"[^\W_][^\x00-\x1f\x7f-\x9f|\u2028\u2029\ufffe\uffff]{0,99}")
NAME_IS = "1 to 100 characters on one line, the first a letter or a digit, no |"


class Check(NamedTuple):
    """A step and its budget.

    name: its own, or made of its keys. place: where it stands. budget: in bytes; said: as it was written. asked: the
    arguments of `load` and `estimate`. wrong: what is wrong with the table, "" if nothing is.
    """

    name: str
    place: Block
    budget: int
    said: str
    asked: dict[str, Any]
    wrong: str = ""


class Settings(NamedTuple):
    """What a file says. path: of the file as seen from here; folder: to which the networks' paths are relative."""

    path: str
    folder: Path
    checks: list[Check]


def read_settings(path: str | None) -> Settings:
    """The checks of a file, by default of the nearest pyproject.toml with a table [tool.costmodel], here or above.

    A table that is wrong is a check that says so. Raises CostmodelError if the file cannot be read, if what the checks
    share is wrong, or if there is no check.
    """
    path, data, text = found_above(Path.cwd()) if path is None else (path, *read_toml(path))
    shared, tables = tables_of(data, text, path)
    checks: list[Check] = []
    for number, (table, lines) in enumerate(zip(tables, lines_of(text, TABLE, len(tables))), 1):
        own = table if isinstance(table, dict) else {}
        name = own.get("name")
        named = f"check {number} ({name})" if is_name(name) else f"check {number}"
        block = located(own, path, named, lines)
        try:
            if not isinstance(table, dict):
                raise block.error(f"found {shown(table)}; allowed: a table")
            checks.append(check_of(block, shared, {check.name for check in checks}))
        except CostmodelError as error:
            checks.append(Check(named, block, 0, "", {**shared, **own}, str(error)))
    return Settings(path, Path(path).resolve().parent, checks)


def found_above(start: Path) -> tuple[str, dict[str, Any], str]:
    """The nearest pyproject.toml with a table [tool.costmodel] in a folder or above it: its path, data and text."""
    seen = []
    for folder in (start, *start.parents):
        if os.path.isfile(folder / FILE):  # also where a folder may not be entered
            path = os.path.relpath(folder / FILE)
            data, text = read_toml(path)
            if "costmodel" in tools_of(data):
                return path, data, text
            seen.append(path)
    looked = f"in {', '.join(seen)}" if seen else f"here: there is no {FILE} in this folder or above"
    raise CostmodelError(f"no [{TOOL}] {looked}; add {EXAMPLE}, or name a file: --config FILE")


def tools_of(data: dict[str, Any]) -> dict[str, Any]:
    """The table [tool] of a file; empty if there is none."""
    tools = data.get("tool")
    return tools if isinstance(tools, dict) else {}


def tables_of(data: dict[str, Any], text: str, path: str) -> tuple[dict[str, Any], list[Any]]:
    """What the checks of a file share, and their tables. Raises CostmodelError if either is wrong or missing."""
    tool = tools_of(data).get("costmodel")
    if tool is None:
        raise CostmodelError(f"{path}: no [{TOOL}]; add {EXAMPLE}")
    if not isinstance(tool, dict):
        raise CostmodelError(f"{path}: {TOOL} is {shown(tool)}; allowed: a table")
    shared = {key: value for key, value in tool.items() if key != "check"}
    block = located(shared, path, TOOL, lines_of(text, TOOL, 1)[0])
    if "name" in shared:
        raise block.error(f"checks cannot share a name; it belongs to a [[{TABLE}]]", "name")
    given = given_of(block, SHARED)
    tables = tool.get("check")
    if isinstance(tables, dict):
        raise block.error(f"check is one table; write [[{TABLE}]], with two brackets")
    if not isinstance(tables, list) or not tables:
        said = f"; [{TOOL}] itself has what checks share" if shared else ""
        raise block.error(f"there is nothing to check{said}; add {EXAMPLE}")
    return given, tables


def check_of(block: Block, shared: dict[str, Any], taken: set[str]) -> Check:
    """The check of a table. taken: names of the checks before it. Raises CostmodelError if the table is wrong."""
    given = given_of(block, KEYS)
    if "name" in given and not is_name(given["name"]):
        raise block.error(f"found {shown(given['name'])}; allowed: {NAME_IS}", "name")
    asked = {**shared, **given}
    for key in ("network", "budget"):
        if key not in asked:
            raise block.error(f"{key!r} is missing")
    name = given.get("name") or made_name(asked, given)
    if name in taken:
        raise block.error(f"there is a check {name!r} already; give each a name of its own")
    said = str(asked["budget"])
    return Check(name, block, parse_size(said), said, {k: v for k, v in asked.items() if k not in ("name", "budget")})


def given_of(block: Block, schema: dict[str, Field]) -> dict[str, Any]:
    """The values of the keys that stand in a table. Raises CostmodelError for an unknown key or a bad value."""
    values = read(block, schema)
    for key in block:
        try:
            READERS.get(key, str)(values[key])
        except CostmodelError as error:
            raise block.error(error, key) from None
    return {key: values[key] for key in block}


def is_name(name: Any) -> bool:
    """Whether this can be a check's name."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def made_name(asked: dict[str, Any], given: dict[str, Any]) -> str:
    """The name of a check that has none: its network, its strategy, and what else its own table says."""
    others = [f"{key}={value}" for key, value in given.items() if key not in ("network", "strategy", "budget")]
    return visible(" ".join([asked["network"], str(asked.get("strategy", DEFAULTS["strategy"])), *others]))


def shown(value: Any) -> str:
    """A value that was found, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
