"""Networks as YAML specs: shipped ones by name, others by path."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ...files.reading import text_of
from ...files.shipped import shipped_names, shipped_text
from ...graph.network import Network


def shipped_ways() -> list[str]:
    return list(shipped_names("networks"))


def is_shipped(network: Any) -> bool:
    """Whether this is the name of a shipped spec."""
    return isinstance(network, str) and network in shipped_names("networks")


@lru_cache(maxsize=64)
def from_name(name: str, classes: int | None, width: float | None) -> Network:
    """The network of a shipped spec."""
    return _read(shipped_text(f"networks/{name}.yaml"), f"{name}.yaml", classes, width)


@lru_cache(maxsize=16)
def from_paper(name: str, classes: int | None) -> Network:
    """A network that only published numbers are about."""
    return _read(shipped_text(f"papers/networks/{name}.yaml"), f"{name}.yaml", classes, None)


def ways() -> list[str]:
    return ["a path to a .yaml file"]


def is_path(network: Any) -> bool:
    """Whether this is a path: it ends like YAML or has a slash. A file with any other ending is read as YAML."""
    return isinstance(network, str) and (network.endswith((".yaml", ".yml")) or "/" in network)


def from_path(path: str, classes: int | None, width: float | None) -> Network:
    """The network of a YAML file."""
    return _read(text_of(path), path, classes, width)


def _read(text: str, source: str, classes: int | None, width: float | None) -> Network:
    from ...files.document import parse
    from .grammar import Spec

    return Spec(parse(text, source), classes, width).network()
