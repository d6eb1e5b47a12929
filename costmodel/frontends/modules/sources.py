"""Makes modules by name: with torchvision, with timm, or with a factory function."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import nn

from ...errors import CostmodelError
from ..draft import RESOLUTION
from .imports import beside_any_torchvision, imported, lacks_operators, what_is_wrong


class Source(NamedTuple):
    """A library that makes modules by name."""

    names: Callable[[], list[str]]
    make: Callable[[str, int | None], nn.Module]
    resolution: Callable[[str, nn.Module], int]
    home: Callable[[str], str]  # name of the Python module that defines the network


def build(text: str, classes: int | None, device: str = "cpu") -> tuple[nn.Module, int]:
    """The module behind "torchvision:NAME", "timm:NAME" or "package.module:factory", and its own resolution.

    Weights are random; on the device "meta" there are none. Raises CostmodelError if the library is missing or does not
    know the name, or if the factory fails.
    """
    kind, _, name = text.partition(":")
    if kind not in SOURCES:
        return _made(kind, name, classes), RESOLUTION
    source = SOURCES[kind]
    names = source.names()
    if name not in names:
        raise CostmodelError(f"unknown {kind} network {name!r}{near(name, names)}")
    try:
        with torch.device(device):
            module = source.make(name, classes)
    except Exception as error:  # libraries raise errors of many types
        raise CostmodelError(f"{text}: {kind} cannot build it: {error}") from error
    return module, source.resolution(name, module)


def near(name: str, names: Iterable[str]) -> str:
    """A hint with the names closest to an unknown one; "" if none is close."""
    found = get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def _library(name: str) -> Any:
    try:
        return imported(name)
    except Exception as error:  # an import may raise anything
        raise CostmodelError(what_is_wrong(name.partition(".")[0], error)) from None


def _torchvision_names() -> list[str]:
    # Classifiers only: detection, segmentation and video models are in modules of their own.
    return _library("torchvision.models").list_models(module=_library("torchvision.models"))


def _torchvision_make(name: str, classes: int | None) -> nn.Module:
    more: dict[str, int] = {}
    if name in ("googlenet", "inception_v3"):
        more["init_weights"] = False  # else they spend minutes on truncated normals
    more.update({} if classes is None else {"num_classes": classes})
    return _library("torchvision.models").get_model(name, weights=None, **more)


def _torchvision_resolution(name: str, module: nn.Module) -> int:
    weights = _library("torchvision.models").get_model_weights(name).DEFAULT
    return int(getattr(module, "image_size", None) or weights.transforms().crop_size[0])


def _timm_make(name: str, classes: int | None) -> nn.Module:
    more = {} if classes is None else {"num_classes": classes}
    return _library("timm").create_model(name, pretrained=False, **more)


def _timm_resolution(name: str, module: nn.Module) -> int:
    config = getattr(module, "pretrained_cfg", None) or {}
    return int((config.get("input_size") or (3, RESOLUTION, RESOLUTION))[-1])


def resolution_of(module: nn.Module) -> int:
    """The resolution that a module gives as its own, else 224."""
    return int(getattr(module, "image_size", None) or _timm_resolution("", module))


def channels_of(module: nn.Module) -> int:
    """Channels of the images that a module takes: what it gives itself, else those of its first convolution, else 3."""
    config = getattr(module, "pretrained_cfg", None) or {}
    if config.get("input_size"):
        return int(config["input_size"][0])
    first = next((child for child in module.modules() if isinstance(child, nn.Conv2d)), None)
    return first.in_channels if first is not None else 3


SOURCES = {
    "torchvision": Source(
        _torchvision_names,
        _torchvision_make,
        _torchvision_resolution,
        lambda name: _library("torchvision.models").get_model_builder(name).__module__,
    ),
    "timm": Source(
        lambda: _library("timm").list_models(),
        _timm_make,
        _timm_resolution,
        lambda name: _library("timm.models").model_entrypoint(name).__module__,
    ),
}


def _made(package: str, name: str, classes: int | None) -> nn.Module:
    """The module that a factory function returns. Its package may also be in the current folder."""
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        home = imported(package)
    except ImportError as error:
        allowed = "torchvision, timm or a Python module's path"
        raise CostmodelError(f"cannot import {package!r}: {error}; allowed: {allowed}") from None
    except RuntimeError as error:
        if not lacks_operators(error):
            raise
        raise CostmodelError(f"cannot import {package!r}: {what_is_wrong(package, error)}") from None
    finally:
        if added:
            sys.path.remove(here)
    factory = getattr(home, name, None)
    if not callable(factory):
        callables = [n for n, value in vars(home).items() if callable(value) and not n.startswith("_")]
        raise CostmodelError(f"{package} has no factory {name!r}{near(name, callables)}")
    more = {}
    if classes is not None:
        if "num_classes" not in inspect.signature(factory).parameters:
            raise CostmodelError(f"{package}:{name} takes no num_classes, so that classes cannot be given")
        more["num_classes"] = classes
    module = beside_any_torchvision(lambda: factory(**more))  # the factory may import torchvision itself
    if not isinstance(module, nn.Module):
        raise CostmodelError(f"{package}:{name} returned a {type(module).__name__}; allowed: a torch.nn.Module")
    return module
