"""Proves that a realised module trains as the one that it was made from: equal outputs, equal gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from ..errors import CostmodelError
from ..frontends.modules.blame import in_words
from ..frontends.modules.dry.stand_ins import same_chance, stand_ins
from ..frontends.modules.dtypes import dtype_of
from ..frontends.modules.given import arguments, real
from ..frontends.modules.outputs import main_of
from ..frontends.modules.untouched import State
from ..graph.dry import Setting
from ..graph.graph import Graph
from ..graph.inputs import Inputs, Sides, resized, sides_of
from ..graph.network import Network
from ..step.shapes import Misfit, shapes_of

IMAGES = 2
#: Sides of the images that are tried before the network's own. Odd ones: maps are then odd too, and half of one is no
#: whole number of pixels.
SMALL = (33, 65)
SEEDS = (0, 1)
#: Kernels have constants in single precision, in double precision, too: the sixth of hard sigmoid.
KERNELS = 1e-5
#: Gradients may be sums that cancel out to nothing but rounding: this many roundings of the largest gradient are equal.
ROUNDINGS = 1e4


class _Run(NamedTuple):
    """What a module makes of a batch: its output, gradients by parameter's path, outputs of layers by their path.

    eps: of the narrowest numbers that autograd kept: a module may compute a part in float32 whatever it is given.
    changed: paths of the numbers and buffers that the module changed.
    """

    output: torch.Tensor
    gradients: dict[str, torch.Tensor]
    layers: dict[str, torch.Tensor]
    eps: float
    changed: Sequence[str] = ()


def prove(network: Network, graph: Graph, setting: Setting, make: Callable[[], nn.Module], exact: bool) -> bool:
    """Raise CostmodelError unless a realised module gives its original's outputs and gradients, for two small images.

    Returns whether it does for images of another size than the network's own, too.

    graph: what is realised; setting: what the strategy sets in the original, which is left as it is. make: makes the
    realised module anew, of the original's present tensors. exact: whether its gradients are exact; if not, those that
    pass an activation with a gradient by sign are left out.

    Both run in float64, if the original can: rounding then cannot hide a difference, however deep the network. Tensors
    are equal if they differ by no more than half of the digits of their largest number, or by `KERNELS`.
    """
    if any(p.device.type == "meta" for p in network.module.parameters()):
        return True
    compared = None if exact else _exact_parameters(graph)
    own = network.inputs
    least = min(sides_of(network.resolution)) if network.resolution is not None else 0
    small = [resized(own, side) for side in SMALL if side < least]
    small = [inputs for inputs in small if _fits(graph, inputs)]

    def problem_at(images: Inputs) -> str:
        try:
            problem = _difference(network, setting, make, compared, images, not setting.has_loss)
            if problem or not setting.has_loss:
                return problem
            evaluated = setting._replace(evaluates=_paths(network.module))
            problem = _difference(network, evaluated, make, frozenset(), images, True)
            return problem and f"in evaluation mode {problem}"
        except Exception as error:  # the network's own code, which may run at its own size alone
            return f"cannot be held against it, which fails at {', '.join(map(str, images))}: {in_words(error)}"

    with _one_thread():
        if any(not problem_at(inputs) for inputs in small):
            return True
        problem = problem_at(own)
        if not problem:
            if network.resolution is None:
                return True
            larger = resized(own, Sides(*(2 * side for side in sides_of(network.resolution))))
            return not small and _fits(graph, larger) and not problem_at(larger)
    raise CostmodelError(
        f"{network.name}: the realised module does not train as the original: {problem}; check=False realises it anyhow"
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Within this torch runs on one thread: several add in another order each time, and gradients differ."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fits(graph: Graph, inputs: Inputs) -> bool:
    try:
        shapes_of(graph, (IMAGES, *inputs[0].shape))
    except Misfit:
        return False
    return True


def _exact_parameters(graph: Graph) -> frozenset[str]:
    """Paths of the parameters whose gradients pass no activation that passes gradients by sign."""
    passed = [False] * (len(graph) + 1)  # value -> whether its gradient has passed one
    inexact: set[str] = set()
    found: set[str] = set()
    for i in range(len(graph) - 1, -1, -1):
        node = graph.nodes[i]
        here = passed[i + 1] or bool(getattr(node.op, "signed", False))
        for v in graph.reads[i]:
            passed[v] |= here
        (inexact if here else found).update(f"{node.owner}.{name}".lstrip(".") for name in node.op.params())
    return frozenset(found - inexact)


def _difference(
    network: Network,
    setting: Setting,
    make: Callable[[], nn.Module],
    compared: frozenset[str] | None,
    images: Inputs,
    may_draw: bool,
) -> str:
    """What differs between the original and the realised module, in words; "" if nothing does.

    may_draw: whether outputs that are drawn at random are let pass.
    """
    own = getattr(torch, dtype_of(network.module))
    if own is torch.float32:
        try:
            return _difference_in(torch.float64, network.module, setting, make, compared, images, may_draw)
        except Exception:  # code that names a data type may not run in another one
            pass
    return _difference_in(own, network.module, setting, make, compared, images, may_draw)


def _difference_in(
    dtype: torch.dtype,
    module: nn.Module,
    setting: Setting,
    make: Callable[[], nn.Module],
    compared: frozenset[str] | None,
    images: Inputs,
    may_draw: bool,
) -> str:
    for seed in SEEDS:
        first, second, is_random = _both(module, setting, make, images, dtype, seed)
        if is_random and may_draw:
            return ""  # dropout that is never switched off: outputs are never the same
        problem = _compare(first, second, compared)
        if problem or not is_random:
            return problem
    return ""


def _compare(first: _Run, second: _Run, compared: frozenset[str] | None) -> str:
    eps = first.eps
    if first.changed:
        return f"it changes {first.changed[0]} in its forward, which the realised module does not"
    close = max(eps**0.5, KERNELS)
    if not _equal(first.output, second.output, close, 0.0):
        place = next((path for path in first.layers if not _is_same_layer(path, first, second, close)), "")
        return f"outputs differ{f', first that of {place}' if place else ''}"
    largest = max((float(g.abs().max()) for g in first.gradients.values() if g.numel()), default=0.0)
    paths = [path for path in first.gradients if compared is None or path in compared]
    wrong = [
        path
        for path in paths
        if not _equal(
            first.gradients[path], second.gradients.get(path, torch.zeros(())), close, ROUNDINGS * eps * largest
        )
    ]
    more = f", and of {len(wrong) - 1} before it" if len(wrong) > 1 else ""
    return f"outputs are equal, but not the gradient of {wrong[-1]}{more}" if wrong else ""


def _equal(a: torch.Tensor, b: torch.Tensor, close: float, noise: float) -> bool:
    if a.shape != b.shape and b.dim():
        return False
    difference, scale = (a - b).abs().max(), a.abs().max()
    return bool(difference <= close * scale + noise) or bool((a == b).all())


def _is_same_layer(path: str, first: _Run, second: _Run, close: float) -> bool:
    return path not in second.layers or _equal(first.layers[path], second.layers[path], close, 0.0)


def _both(
    module: nn.Module, setting: Setting, make: Callable[[], nn.Module], images: Inputs, dtype: torch.dtype, seed: int
) -> tuple[_Run, _Run, bool]:
    """Runs of the original and of the realised module, on the same weights, images and random numbers.

    The last value says whether the original draws random numbers.
    """
    evaluates = setting.evaluates == _paths(module)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with stand_ins(module, None, setting, dtype, torch.preserve_format):
        with same_chance(seed):
            args, named = arguments(images, IMAGES, dtype, real)
            args, named = [x.to(device) for x in args], {name: x.to(device) for name, x in named.items()}
            realised = make()
        own = Setting(None, _paths(realised) if evaluates else None, setting.has_loss)
        with stand_ins(realised, None, own, dtype, torch.preserve_format):
            with same_chance(seed) as drawn:
                before = State(module)
                first = _run(module, args, named, setting.has_loss)
                first = first._replace(changed=_changed(module, before))
            with same_chance(seed):
                return first, _run(realised, [*args, *named.values()], {}, setting.has_loss), drawn[0]


def _paths(module: nn.Module) -> frozenset[str]:
    """Paths of all modules."""
    return frozenset(path for path, _ in module.named_modules())


def _changed(module: nn.Module, before: State) -> list[str]:
    """Paths of the numbers and of the buffers that a run has changed, the statistics of norms left out."""
    now = State(module)
    buffers = dict(module.named_buffers())
    return [*now.counters_changed_since(before), *(path for path in now.changed_since(before) if path in buffers)]


def _run(module: nn.Module, args: list[torch.Tensor], named: dict[str, torch.Tensor], has_loss: bool) -> _Run:
    """Forward and, if there is a loss, backward from a gradient of the output that looks random."""
    layers: dict[str, torch.Tensor] = {}

    def seen(path: str) -> Callable:
        def hook(_: nn.Module, __: tuple, output: object) -> None:
            if isinstance(output, torch.Tensor):
                layers[path] = output.detach().clone()  # a later op may overwrite it

        return hook

    for path, child in module.named_modules():
        if path and not child._modules:
            child.register_forward_hook(seen(path))
    floats = [x.dtype for x in (*args, *named.values(), *module.parameters()) if x.is_floating_point()]
    coarsest = [torch.finfo(floats[0]).eps if floats else 0.0]

    def noted(kept: torch.Tensor) -> torch.Tensor:
        if kept.is_floating_point():
            coarsest[0] = max(coarsest[0], torch.finfo(kept.dtype).eps)
        return kept

    with nullcontext() if has_loss else torch.no_grad():
        with saved_tensors_hooks(noted, lambda kept: kept):
            y = main_of(module(*args, **named))
        if y.requires_grad:
            y.backward(torch.arange(y.numel(), dtype=y.dtype, device=y.device).add(1).sin().view_as(y))
    pairs = module.named_parameters(remove_duplicate=False)
    gradients = {path: torch.zeros(()) if p.grad is None else p.grad for path, p in pairs}
    return _Run(y.detach(), gradients, layers, coarsest[0])
