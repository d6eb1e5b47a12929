"""Imports packages of networks, torchvision even if its C library does not fit torch, or says what is wrong."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import TypeVar

import torch

T = TypeVar("T")


def imported(name: str) -> ModuleType:
    """The Python module of this name, imported whether or not torchvision's C library fits torch."""
    return beside_any_torchvision(lambda: importlib.import_module(name))


def beside_any_torchvision(call: Callable[[], T]) -> T:
    """The result of a call that may import torchvision, whether or not torchvision's C library fits torch.

    If the library does not fit, torchvision's import fails when it describes the library's operators. The call is then
    repeated with the operators' schemas declared here; networks use none of these operators. They are not declared
    earlier, because a C library that does load declares them itself, and ends the process if they already exist.
    """
    try:
        return call()
    except RuntimeError as error:
        if not lacks_operators(error):
            raise
    _declare_operators()
    _forget_half_imported()
    return call()


def lacks_operators(error: BaseException) -> bool:
    """Whether an error means that torchvision's C library was not loaded."""
    return isinstance(error, RuntimeError) and bool(re.search(r"operator torchvision::\w+ does not exist", str(error)))


@cache
def _declare_operators() -> torch.library.Library:
    """Declare the operators that torchvision's Python code describes at import.

    Cached, since the schemas disappear with their Library.
    """
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _forget_half_imported() -> None:
    """Drop the modules of packages whose import failed halfway, so that their import starts afresh."""
    for name in sorted(sys.modules):  # a package before its modules
        package = name.rpartition(".")[0]
        if package and package not in sys.modules:
            del sys.modules[name]


def what_is_wrong(package: str, error: BaseException) -> str:
    """A message that says why a package cannot be imported, and what helps."""
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing == package:
        return f"{package} is not installed: pip install {package}"
    if missing == "torchvision":
        return f"{package} needs torchvision, which is not installed: pip install torchvision"
    if lacks_operators(error):
        return (
            f"{_release('torchvision')} is installed, but its C library does not fit torch {torch.__version__}: "
            f"{error}; install the torchvision that was made for this torch"
        )
    return f"{_release(package)} is installed, but cannot be imported: {error}"


def _release(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:  # a folder on the path, say
        return package
