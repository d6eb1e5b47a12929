"""The values that all rows of a table share, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graph.inputs import sides_of
from ..targets import TARGET_VARIABLE, Target, parse

SHOWN = ("network", "strategy", "batch", "resolution", "convention", "target")


def shared(values: Mapping[str, Any]) -> str:
    """A title of these values, as far as a title says them: "mobilenet_v2, batch 8, 224x224, lean"."""
    return ", ".join(_words(name, values[name]) for name in SHOWN if values.get(name) is not None)


def detected_note(target: Target) -> list[str]:
    """A note where a budget is held against a target that was found out of this machine, in part or as a whole."""
    if not target.detected:
        return []
    found = " and ".join(target.detected)
    return [
        f"The budget is held against this machine's {found}: {target.text}. Name another target by --target, or in the"
        f" environment by {TARGET_VARIABLE}."
    ]


def _words(name: str, value: Any) -> str:
    if name == "batch":
        return f"batch {value}"
    if name == "resolution":
        return "x".join(map(str, sides_of(value))) if not isinstance(value, str) else value
    return str(parse(value) if name == "target" else value)
