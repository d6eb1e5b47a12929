"""Tables of entries by name: an entry translates a function of torch, or an operator of ONNX, into ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .. import ops  # noqa: F401  (registers every op)
from ..graph.op import OPS
from ..ops.activation import Activation

Entry = Callable[..., Any]


def registrar(table: dict[str, Entry]) -> Callable[..., Callable[[Entry], Entry]]:
    """A decorator, called with names, that puts an entry into a table under each of them."""

    def named(*names: str) -> Callable[[Entry], Entry]:
        def register(entry: Entry) -> Entry:
            table.update(dict.fromkeys(names, entry))
            return entry

        return register

    return named


def ops_that_name(attribute: str) -> Iterator[type[Activation]]:
    """The ops whose class has this attribute, their name in another library (`torch_name`, say): plain activations."""
    return (cls for cls in OPS.values() if issubclass(cls, Activation) and getattr(cls, attribute))
