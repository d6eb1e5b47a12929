"""The values that all rows of a table share, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graph.inputs import sides_of
from ..targets import parse

SHOWN = ("network", "strategy", "batch", "resolution", "convention", "target")


def shared(values: Mapping[str, Any]) -> str:
    """A title of these values, as far as a title says them: "mobilenet_v2, batch 8, 224x224, lean"."""
    return ", ".join(_words(name, values[name]) for name in SHOWN if values.get(name) is not None)


def _words(name: str, value: Any) -> str:
    if name == "batch":
        return f"batch {value}"
    if name == "resolution":
        return "x".join(map(str, sides_of(value))) if not isinstance(value, str) else value
    return str(parse(value) if name == "target" else value)
