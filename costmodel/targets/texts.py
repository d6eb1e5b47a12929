"""Targets as people write them: a device, then its options, each after a comma."""

from __future__ import annotations

from typing import Any

from ..errors import CostmodelError, unknown
from .target import DEVICES, Target


def of_text(text: str) -> Target:
    """The target of a text that is no file."""
    name, *parts = text.split(",")
    if name not in DEVICES:
        raise CostmodelError(f"target {text!r}: {unknown('device', name, DEVICES)}")
    kind, given = DEVICES[name], dict[str, Any]()
    for part in parts:
        key, equals, value = part.partition("=")
        if key not in kind.options:
            raise CostmodelError(f"target {text!r}: {unknown(f'option of {name}', key, kind.options)}")
        if key in given:
            raise CostmodelError(f"target {text!r}: {key} stands twice; allowed: once")
        try:
            given[key] = kind.options[key].read(value if equals else None)
        except ValueError:
            raise CostmodelError(f"target {text!r}: found {part!r}; allowed: {kind.options[key].allowed}") from None
    try:
        return kind.made(given)
    except CostmodelError as error:
        raise CostmodelError(f"target {text!r}: {error}") from None
