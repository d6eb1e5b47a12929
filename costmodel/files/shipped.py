"""Finds specs: package data of an installed wheel, and in a checkout the folder beside the package."""

from __future__ import annotations

import sys
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from importlib.resources.abc import Traversable
    else:
        from importlib.abc import Traversable


def _specs() -> Traversable:
    """The folder of specs: beside the package in a checkout, whether or not that is installed, else package data."""
    checkout = Path(__file__).parents[2]
    if (checkout / "setup.cfg").is_file() and (checkout / "specs" / "networks").is_dir():
        return checkout / "specs"
    return files("costmodel.specs")


SPECS = _specs()


def shipped_text(path: str) -> str:
    """Text of a shipped file under specs/."""
    return (SPECS / path).read_text(encoding="utf-8")


@cache
def shipped_names(folder: str) -> tuple[str, ...]:
    """Names of the YAML files in a folder of specs/, without their suffix."""
    names = (entry.name for entry in (SPECS / folder).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))
