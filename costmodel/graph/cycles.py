"""Tells a cycle of a graph from nodes that are out of order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def why_not_yet(reader: str, name: str, reads: Mapping[str, Sequence[str]]) -> str:
    """The end of an error message for a value that is read before it is made: a cycle, or nodes out of order.

    reads: the inputs of every node, by name.
    """
    seen: set[str] = set()
    todo: list[tuple[str, tuple[str, ...]]] = [(name, (reader, name))]
    while todo:
        current, path = todo.pop()
        if current == reader:
            return f"which makes a cycle: {' <- '.join(path)}"
        if current not in seen:
            seen.add(current)
            todo += [(i, (*path, i)) for i in reads.get(current, ())]
    return "which stands after it; nodes are listed in order of execution"
