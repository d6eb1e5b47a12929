"""Imports packages of networks, torchvision even where its C library does not fit torch, or tells what is wrong."""

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
    """The module of that name, imported beside any torchvision."""
    return beside_any_torchvision(lambda: importlib.import_module(name))


def beside_any_torchvision(call: Callable[[], T]) -> T:
    """What a call returns that may import torchvision, whether or not torchvision's C library fits torch.

    Where it does not fit, importing torchvision fails as soon as it describes operators of that library, and then the
    call is made once more with their schemas declared: networks use none of them. They are declared only then, since
    a C library that loads declares them itself and ends the process where they are there already.
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
    """Whether an error says that torchvision's C library was not loaded."""
    return isinstance(error, RuntimeError) and bool(re.search(r"operator torchvision::\w+ does not exist", str(error)))


@cache
def _declare_operators() -> torch.library.Library:
    """Declares what torchvision's Python code describes at import; cached, since schemas go with their Library."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _forget_half_imported() -> None:
    """Drops the modules of packages that failed while they were imported, so that these begin anew."""
    for name in sorted(sys.modules):  # a package before its modules
        package = name.rpartition(".")[0]
        if package and package not in sys.modules:
            del sys.modules[name]


def what_is_wrong(package: str, error: Exception) -> str:
    """Words for why a package cannot be imported, and for what helps."""
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
