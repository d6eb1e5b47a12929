"""Parameters and buffers that a module holds but no node uses, as rows of a spec."""

from __future__ import annotations

from typing import Any

from ...files.document import Block, Field, read, write
from ...graph.op import Extra
from ...sizes.size import Shape, is_int

PARAMETER = {"name": Field((str,), required=True), "size": Field((list,), required=True)}
BUFFER = PARAMETER | {"bits": Field((int,), least=8)}


def row_of(owner: str, name: str, size: Shape, bits: int | None = None) -> str:
    """A tensor as a line of YAML. bits: of each number, None for the network's own data type."""
    row = {"name": f"{owner}.{name}".lstrip("."), "size": list(size)}
    return "- " + write(row | {"bits": bits} if bits else row, flow=True)


def parameter_of(item: Block) -> tuple[str, str, tuple[int, ...]]:
    """A parameter's owner, name and shape."""
    return _place_and_size(item, read(item, PARAMETER))


def buffer_of(item: Block) -> tuple[str, str, Extra]:
    """A buffer's owner and name, with its shape and bits."""
    values = read(item, BUFFER)
    owner, name, size = _place_and_size(item, values)
    return owner, name, Extra(size, values["bits"])


def _place_and_size(item: Block, values: dict[str, Any]) -> tuple[str, str, tuple[int, ...]]:
    size = values["size"]
    if not all(is_int(side) and side >= 0 for side in size):
        raise item.error(f"found {size!r}; allowed: a list of integers of at least 0", "size")
    owner, _, name = values["name"].rpartition(".")
    return owner, name, tuple(size)
