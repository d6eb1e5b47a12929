"""Where an estimate and a dry step of the module part: what differs, and in which module first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.dry import DryStep, Saved
from ..sizes.units import show_count, show_size
from .estimate import Estimate
from .formats import other_formats


def differences(estimate: Estimate, dry: DryStep) -> list[str]:
    """What a dry step does other than an estimate under `torch` on tensors alone says, in words; empty if nothing."""
    pairs = [
        ("parameters", estimate.resident.parameters, dry.parameters_bytes, show_size),
        ("buffers", estimate.resident.buffers, dry.buffers_bytes, show_size),
        ("saved bytes", estimate.saved_bytes, dry.saved_bytes, show_size),
        ("forward FLOPs", estimate.flops["forward"], dry.flops["forward"], show_count),
        ("backward FLOPs", estimate.flops["backward"], dry.flops["backward"], show_count),
        ("the tensors' peak", estimate.step_peak_bytes, dry.tensor_peak_bytes, show_size),
        ("bytes left after the step", estimate.left_bytes, dry.left_bytes, show_size),
    ]
    found = [f"{what} {_two(show, mine, other)}" for what, mine, other, show in pairs if mine != other]
    trained = {".".join(key).lstrip(".") for key, (_, trains) in estimate.graph.parameters.items() if trains}
    if estimate.graph.has_loss and trained != dry.trained:
        other = sorted(trained ^ dry.trained)
        which = "gets a gradient in one alone" if len(other) == 1 else "get a gradient in one alone"
        found.append(f"{', '.join(other[:3])}{' and more' if len(other) > 3 else ''} {which}")
    return found + other_formats(estimate, dry) + held_beside(dry)


def _two(show: Callable[[int], str], mine: Any, other: int) -> str:
    """Both numbers, to the last digit if they look the same without."""
    said = show(mine), show(other)
    unit = " bytes" if show is show_size else ""
    return "{}, in the dry step {}".format(*(said if said[0] != said[1] else (f"{mine}{unit}", f"{other}{unit}")))


def held_beside(dry: DryStep) -> list[str]:
    """What is alive after the forward pass although neither autograd nor the loss holds it, in words."""
    size = dry.unseen_bytes
    return [f"{show_size(size)} are held beside autograd after the forward pass"] if size > 0 else []


def where_they_part(estimate: Estimate, dry: DryStep) -> str:
    """The path of the first module, in forward order, in which an estimate and a dry step differ; "" if none does."""
    graph = estimate.graph
    place = {node.name: _module_of(node.name, dry.paths) for node in graph.nodes}
    order = dict.fromkeys([*place.values(), *(one.where for one in dry.saved), *dry.forward_flops_of])
    mine = dict.fromkeys(order, 0)
    for row in estimate.rows:
        mine[place[row.node]] += row.saved_bytes
    theirs = _by_place(dry.saved)
    flops = dict.fromkeys(order, 0)
    for node, work in zip(graph.nodes, estimate.work):
        flops[place[node.name]] += 2 * work.forward_macs
    for path in order:
        if mine[path] != theirs.get(path, 0) or flops[path] != dry.forward_flops_of.get(path, 0):
            return repr(path) if path else "the network itself"
    return ""


def _module_of(name: str, paths: frozenset[str]) -> str:
    """The path of the module in which a node stands."""
    while name and name not in paths:
        name = name.rpartition(".")[0]
    return name


def _by_place(saved: tuple[Saved, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in saved:
        found[one.where] = found.get(one.where, 0) + one.saved_bytes
    return found
