"""The order in which a module lists its parameters, in which an optimizer updates them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Key = tuple[str, str]  # (owner, name) of a parameter


class Branch:
    """A module of a tree: names of its own parameters and its submodules, each in the order of their registration."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.children: dict[str, Branch] = {}

    def add(self, key: Key) -> None:
        """Register a parameter, and the modules on the way to it, if they are not there."""
        owner, name = key
        at = self
        for part in owner.split(".") if owner else ():
            at = at.children.setdefault(part, Branch())
        at.names.setdefault(name)

    def listed(self, path: str = "") -> Iterator[Key]:
        """Parameters as torch lists them: a module's own, then those of each of its submodules."""
        for name in self.names:
            yield path, name
        for part, child in self.children.items():
            yield from child.listed(f"{path}.{part}" if path else part)


def in_order(keys: Iterable[Key], registered: Iterable[Key]) -> list[Key]:
    """Parameters in the order in which their module lists them.

    keys: in the order in which the module uses them, which registers those that are not among `registered`.
    """
    root, found = Branch(), dict.fromkeys(keys)
    for key in (*registered, *found):
        root.add(key)
    return [key for key in root.listed() if key in found]
