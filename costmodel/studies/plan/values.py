"""Values of trained blocks, given as a mapping or a CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from ...errors import CostmodelError, unknown
from ...files.table import read_table
from ...strategies import CHOICES, FROZEN

MAXIMISE = ("parameters", "blocks")  # what may be maximised by name
TRAINING = tuple(dict.fromkeys(choice.training for choice in CHOICES.values() if choice is not FROZEN))
Values = Mapping[str, float | Mapping[str, float]]  # block -> value, or block -> choice -> value


def read_values(path: str) -> Values:
    """The values in a CSV file with the columns `block`, `value`, and `choice` if each choice has its own value.

    Raises CostmodelError if the file cannot be read, names a block (or a block and choice) twice, or has a value that
    is no number.
    """
    if not path.endswith(".csv"):
        raise CostmodelError(f"maximise is {path!r}; allowed: {', '.join(MAXIMISE)}, or a .csv file of blocks' values")
    columns = read_table(path)
    if set(columns) not in ({"block", "value"}, {"block", "choice", "value"}):
        raise CostmodelError(f"{path!r} has the columns {', '.join(columns)}; allowed: block, value, and choice")
    values: dict[str, Any] = {}
    for row, (block, value) in enumerate(zip(columns["block"], columns["value"]), 2):
        place, key = values, str(block)
        if "choice" in columns:
            place, key = values.setdefault(str(block), {}), str(columns["choice"][row - 2])
        if key in place:
            raise CostmodelError(f"{path!r}, row {row}: {block!r} stands twice")
        if not isinstance(value, (int, float)):
            raise CostmodelError(f"{path!r}, row {row}: the value is {value!r}; allowed: a number")
        place[key] = value
    return values


def checked_values(values: Values, blocks: Sequence[str]) -> dict[str, dict[str, float]]:
    """block -> choice -> value, for every block. Raises CostmodelError for unknown and missing blocks or choices."""
    for name in values:
        if name not in blocks:
            raise unknown("block", name, blocks)
    missing = [name for name in blocks if name not in values]
    if missing:
        raise CostmodelError(f"no value for the block{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    found: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        by_choice = dict(value) if isinstance(value, Mapping) else dict.fromkeys(TRAINING, value)
        if set(by_choice) != set(TRAINING):
            given, allowed = ", ".join(by_choice), ", ".join(TRAINING)
            raise CostmodelError(f"block {name!r} has values for {given}; allowed: for {allowed}")
        for choice, worth in by_choice.items():
            if isinstance(worth, bool) or not isinstance(worth, (int, float)) or not isfinite(worth):
                raise CostmodelError(f"block {name!r}: the value of {choice} is {worth!r}; allowed: a number")
        found[name] = {choice: float(worth) for choice, worth in by_choice.items()}
    return found
