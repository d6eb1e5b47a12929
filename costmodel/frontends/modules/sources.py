"""Makes modules by name: with torchvision, with timm, or with people's own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from ...errors import CostmodelError
from ...graph.inputs import Resolution, Sides
from ...sizes.size import is_int
from ..draft import RESOLUTION
from .blame import said_by
from .imports import imported, what_is_wrong
from .own_code import made, near


class Source(NamedTuple):
    """A library that makes modules by name."""

    names: Callable[[], list[str]]
    make: Callable[[str, int | None], nn.Module]
    resolution: Callable[[str, nn.Module], Resolution]
    home: Callable[[str], str]  # name of the Python module that defines the network


def build(kind: str, name: str, classes: int | None, device: str = "cpu") -> tuple[nn.Module, Resolution]:
    """The module called `name` in a library or in people's own code, and its own resolution.

    kind: "torchvision", "timm", or a Python module or file. A library's weights are random; on the device "meta" there
    are none. Raises CostmodelError if the library is missing or does not know the name, or if the code fails.
    """
    if kind not in SOURCES:
        module = made(kind, name, classes)
        return module, resolution_of(module)
    source = SOURCES[kind]
    names = source.names()
    if name not in names:
        raise CostmodelError(f"unknown {kind} network {name!r}{near(name, names)}")
    try:
        try:
            with torch.device(device):
                module = source.make(name, classes)
        except NotImplementedError:  # torchvision's regnets look at numbers while they are made
            module = source.make(name, classes)
    except Exception as error:  # libraries raise errors of many types
        raise CostmodelError(f"{kind}:{name}: {kind} cannot build it: {error}") from error
    return module, source.resolution(name, module)


def _library(name: str) -> Any:
    try:
        return imported(name)
    except Exception as error:  # an import may raise anything
        raise CostmodelError(what_is_wrong(name.partition(".")[0], error)) from None


def _torchvision_names() -> list[str]:
    # Classifiers and segmentation; models of detection, of video and of optical flow are in modules of their own.
    models = _library("torchvision.models")
    return models.list_models(module=models) + models.list_models(module=models.segmentation)


def _torchvision_make(name: str, classes: int | None) -> nn.Module:
    more: dict[str, Any] = {}
    if _is_segmentation(name):
        more["weights_backbone"] = None
    if name in ("googlenet", "inception_v3"):
        more["init_weights"] = False  # else they spend minutes on truncated normals
    more.update({} if classes is None else {"num_classes": classes})
    return _library("torchvision.models").get_model(name, weights=None, **more)


def _torchvision_resolution(name: str, module: nn.Module) -> int:
    transforms = _library("torchvision.models").get_model_weights(name).DEFAULT.transforms()
    size = transforms.resize_size if _is_segmentation(name) else transforms.crop_size
    return int(said_by(module, "image_size") or size[0])


def _is_segmentation(name: str) -> bool:
    return "segmentation" in _library("torchvision.models").get_model_builder(name).__module__


def _timm_make(name: str, classes: int | None) -> nn.Module:
    more = {} if classes is None else {"num_classes": classes}
    return _library("timm").create_model(name, pretrained=False, **more)


def _timm_resolution(name: str, module: nn.Module) -> Resolution:
    return resolution_of(module)


def _timm_input(module: nn.Module) -> tuple[int, ...]:
    """(channels, height, width) of the images that a module is for, if it says so as timm's do."""
    config = said_by(module, "pretrained_cfg")
    return (isinstance(config, Mapping) and config.get("input_size")) or (3, RESOLUTION, RESOLUTION)


def resolution_of(module: nn.Module) -> Resolution:
    """The resolution that a module gives as its own, else 224. Raises CostmodelError for what is none."""
    size = said_by(module, "image_size") or tuple(map(int, _timm_input(module)[1:]))
    sides = list(size) if isinstance(size, (tuple, list)) else [size]
    if len(sides) > 2 or not all(is_int(side) and side >= 1 for side in sides):
        raise CostmodelError(f"the network's image_size is {size!r}; allowed: an integer >= 1, or two of them")
    return sides[0] if sides[0] == sides[-1] else Sides(*sides)


def channels_of(module: nn.Module) -> int:
    """Channels of the images that a module takes: what it gives itself, else those of its first convolution, else 3."""
    if said_by(module, "pretrained_cfg"):
        return int(_timm_input(module)[0])
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
