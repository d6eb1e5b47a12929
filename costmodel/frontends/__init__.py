"""Turns the name of a network, its file or its module into a graph.

A frontend is a folder, with a row of `FRONTENDS` for each way to name its networks. Nothing heavy is imported until a
network is loaded: the folders' `__init__` files import torch, onnx and yaml inside their functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import CostmodelError, check_one_line, unknown
from ..graph.inputs import read_inputs, read_resolution
from ..graph.network import Network, Untraceable
from ..ops._named_loss import LOSSES, find_loss
from ..sizes.size import as_int, is_int
from . import modules, onnxfiles, spec
from .modules import family_of, names_of, outline

__all__ = ["FRONTENDS", "Frontend", "Network", "family_of", "load", "load_or_dry", "names_of", "outline"]


class Frontend(NamedTuple):
    """One way to name a network.

    ways: what people may write, listed in the message about an unknown name. matches: whether a name or an object
    belongs to this frontend. load: makes the network. takes: the options that `load` hands to it.
    """

    ways: Callable[[], list[str]]
    matches: Callable[[Any], bool]
    load: Callable[..., Network]
    takes: tuple[str, ...] = ()


OF_MODULES = ("blocks_are", "allow_unknown", "resolution", "inputs", "loss", "targets")
#: The first row that matches loads the network.
FRONTENDS = (
    Frontend(lambda: [], lambda network: isinstance(network, Network), lambda network: network),
    Frontend(lambda: [], modules.is_module, modules.from_object, OF_MODULES),
    Frontend(spec.shipped_ways, spec.is_shipped, spec.from_name, ("classes", "width")),
    Frontend(modules.ways_in_files, modules.is_in_file, modules.from_name, ("classes", *OF_MODULES)),
    Frontend(onnxfiles.ways, onnxfiles.is_path, onnxfiles.from_path, ("blocks_are", "allow_unknown")),
    Frontend(spec.ways, spec.is_path, spec.from_path, ("classes", "width")),
    Frontend(modules.ways, modules.is_name, modules.from_name, ("classes", *OF_MODULES)),
)


def load(
    network: str | Network | Any,
    classes: int | None = None,
    width: float | None = None,
    blocks_are: str = "",
    allow_unknown: bool = False,
    strict: bool = False,
    resolution: Any = None,
    inputs: Any = None,
    loss: Any = None,
    targets: Any = None,
) -> Network:
    """Load a network.

    network: the name of a shipped spec, a path to a YAML or ONNX file, torchvision:NAME, timm:NAME, package.module:NAME
    or path/to/file.py:NAME, where NAME is a module, or a class or function that makes one without arguments, or a
    torch.nn.Module; a Network is returned unchanged. classes, width: outputs of the classifier and width multiplier,
    the network's own by default. For modules and ONNX files only: blocks_are, the class or path pattern of the blocks;
    allow_unknown, whether unknown ops cost nothing. strict: refuse a network whose figures may be understated
    (`Network.notes`). loss: cross_entropy[,label_smoothing=E], bce (with logits) or mse; or for a module, a function of
    what it returns and of the targets, which is traced with it, or FILE.py:NAME of one. For modules only: resolution,
    of the images with which a module is run to see its layers, one side or HEIGHTxWIDTH, by default its own; inputs,
    instead of images: example tensors, whose first axis is the batch, or sizes of one example such as (1, 40, 96) or
    "77:int64", several in a list or by keyword in a dict; targets, of a loss of one's own: example tensors, a function
    of the batch that makes them, or FILE.py:NAME. Raises CostmodelError; Untraceable for a module whose layers cannot
    be found.
    """
    for what, text in (("network", network), ("loss", loss), ("targets", targets)):
        if isinstance(text, str):
            check_one_line(what, text)
    classes = as_int(classes)
    given = None if inputs is None or inputs == () else read_inputs(inputs)
    named = find_loss(loss) if _is_named(loss) else None
    loss = None if named is not None else loss
    options = {"classes": classes, "width": width, "blocks_are": blocks_are, "allow_unknown": allow_unknown,
               "resolution": read_resolution(resolution), "inputs": given, "loss": loss,
               "targets": targets}  # fmt: skip
    row = next((row for row in FRONTENDS if row.matches(network)), None)
    if isinstance(network, str):
        _check_numbers(classes, width)
    elif row is None:
        allowed = "a name, a path, a torch.nn.Module or a Network"
        raise CostmodelError(f"network is {type(network).__name__}; allowed: {allowed}")
    if row is None:
        raise unknown("network", network, [way for row in FRONTENDS for way in row.ways()])
    refused = [name for name in ("classes", "width") if name not in row.takes]
    if any(options[name] is not None for name in refused):
        called = network if isinstance(network, str) else "this network"
        if refused == ["width"]:
            raise CostmodelError(f"width belongs to a spec; {called} has none")
        raise CostmodelError(f"classes and width belong to a spec; {called} is already built")
    _refuse_what_needs_a_module(row, options)
    if named is not None and isinstance(network, Network) and network.graph.has_loss:
        raise CostmodelError(f"{network.name} was loaded with the loss {network.loss.name}; allowed: no other one")
    loaded = row.load(network, **{name: options[name] for name in row.takes})
    loaded = replace(loaded, loss=named) if named is not None else loaded
    if strict and loaded.notes:
        raise CostmodelError(f"{loaded.name}: {' '.join(loaded.notes)}")
    return loaded


def load_or_dry(network: str | Network | Any, **options: Any) -> Network:
    """As `load`, but a module whose layers cannot be found is a Network, too: one that can run dry steps alone."""
    try:
        return load(network, **options)
    except Untraceable as error:
        loss = options.get("loss")
        return replace(error.network, loss=find_loss(loss)) if _is_named(loss) else error.network


def _is_named(loss: Any) -> bool:
    """Whether a loss is one of those that have a name, and not a function of people's own."""
    return isinstance(loss, str) and ":" not in loss


def _refuse_what_needs_a_module(row: Frontend, options: dict[str, Any]) -> None:
    if not isinstance(options["blocks_are"] or "", str):
        allowed = "the name of the blocks' class, or a pattern of their paths, such as 'layers.*'"
        raise CostmodelError(f"blocks_are is {options['blocks_are']!r}; allowed: {allowed}")
    for name in ("inputs", "loss", "targets"):
        if options[name] is not None and name not in row.takes:
            known = f"; its loss is one of {', '.join(LOSSES)}" if name == "loss" else ""
            raise CostmodelError(f"{name}: found for a spec, an ONNX file or a Network; allowed: for a module{known}")
    if options["targets"] is not None and options["loss"] is None:
        raise CostmodelError("targets are for a loss of one's own: give loss=FUNCTION (--loss FILE.py:FUNCTION), too")
    if options["loss"] is not None and not isinstance(options["loss"], str) and not callable(options["loss"]):
        found = type(options["loss"]).__name__
        raise CostmodelError(f"loss is a {found}; allowed: {', '.join(LOSSES)}, or a function of outputs and targets")


def _check_numbers(classes: int | None, width: float | None) -> None:
    if classes is not None and (not is_int(classes) or classes < 1):
        raise CostmodelError(f"classes is {classes!r}; allowed: an integer >= 1")
    if width is not None and (isinstance(width, bool) or not isinstance(width, (int, float))):
        raise CostmodelError(f"width is {width!r}; allowed: a number > 0")
