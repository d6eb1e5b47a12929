"""Makes a torch.nn.Module of a strategy's graph, with the reference's module paths, flags, modes and lifetimes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from ..api import estimate
from ..conventions import CONVENTIONS, find
from ..devices import Device, given_device
from ..errors import CostmodelError, check_name
from ..frontends import load
from ..graph.checkpointing import reruns
from ..graph.dry import Setting
from ..graph.graph import Graph, Node
from ..graph.inputs import Inputs
from ..graph.network import Network
from ..graph.op import Result
from ..ops.lean_folded import FoldedConv2d
from ..sizes.size import show
from ..strategies import STRATEGIES, apply, in_own_modes, read, setting_of
from . import library
from .converted import NotConverted
from .flat import flat
from .modules import Again, Frame, Silent, Step, with_frame
from .proof import prove

Run = list[tuple[int, Node]]  # consecutive nodes, each with its number


def realize(
    network: str | Network | Any,
    strategy: str = "full",
    convention: str = "torch",
    memory_format: str = "contiguous",
    check: bool = True,
    device: str | Device | None = None,
) -> nn.Module:
    """The module that trains as the strategy says: (N, C, H, W) -> logits, in train mode, with `requires_grad` set.

    Frozen norms stay in eval mode after `.train()`. State dict keys are the reference implementation's.
    memory_format: contiguous, channels_last, or best: for a step of 8 images at the network's own resolution on this
    machine's CPU, the one with the lower peak; with a device whose file knows the time of both, the quicker of those
    that fit into its usable memory. The result's `memory_format` attribute says which it is; give the
    images the same. (If `network` is a module, both share the weights: they take this format there too, and keep their
    values.) check: whether a module that is made of another one is held against it: outputs and gradients of two small
    images, which must be equal in training and in evaluation mode. (Attributes that the original sets in its forward
    are not set. An original that runs at its own size alone runs there, for real.) If they are equal at the network's
    own resolution alone, the result refuses images of other sizes with a ValueError. Raises CostmodelError for a bad
    request, a convention that no module follows, or a module that would not train as its original.
    """
    chosen = find(convention)
    if not chosen.measurable:
        names = ", ".join(name for name, c in CONVENTIONS.items() if c.measurable)
        raise CostmodelError(f"convention {convention!r} only counts, no module follows it; allowed: {names}")
    check_name("memory format", memory_format, MEMORY_FORMATS)
    network = load(network)
    rewritten = apply(strategy, network.graph)
    graph = chosen.lower(rewritten)

    def make(graph: Graph = graph) -> nn.Module:
        made = _build(network, graph)
        for path in STRATEGIES[read(strategy, network.graph).name].zeroed(rewritten):
            nn.init.zeros_(made.get_parameter(f"{path}.weight"))
        return made.train(graph.has_loss)

    module = make()
    setting = proof_setting(network, rewritten, strategy) if check else None
    compared = partial(make, with_same_noise(graph))
    if setting is not None and not prove(network, rewritten, setting, compared, convention == "torch"):
        module.register_forward_pre_hook(OnlyFor(network.inputs))
    if memory_format == "best":
        memory_format = best_format(network, strategy, convention, given_device(device))
    module.memory_format = torch.channels_last if memory_format == CHANNELS_LAST else torch.contiguous_format
    return module.to(memory_format=torch.channels_last) if memory_format == CHANNELS_LAST else module


def with_same_noise(graph: Graph) -> Graph:
    """The graph whose prefix runs on the whole batch if it draws random numbers: on slices it would draw others."""
    draws = any(node.op.is_random for node in graph.nodes[: graph.prefix])
    return replace(graph, prefix_slices=1) if draws else graph


def best_format(network: Network, strategy: str, convention: str, device: Device | None) -> str:
    """The memory format with the lower peak, or the quicker one on a device that knows the time of both.

    Where both peak alike, though the kernels' scratch counts, it is channels_last: then fewer maps are copied.
    """
    target = device.processor.target if device else "cpu"
    found = {
        name: estimate(network, strategy, convention=convention, target=with_format(target, name), device=device)
        for name in ("contiguous", "channels_last")
    }
    fit = [name for name, one in found.items() if device is None or one.peak_bytes <= device.usable_bytes]
    seconds = {name: one.seconds for name, one in found.items()}
    if fit and None not in seconds.values():
        return min(fit, key=lambda name: seconds[name] or 0.0)
    likely = CHANNELS_LAST if found[CHANNELS_LAST].request.target.counts_kernels else "contiguous"
    return min(found, key=lambda name: (found[name].step_peak_bytes, name != likely))


def with_format(target: str, memory_format: str) -> str:
    """A target's text with a memory format."""
    bare = ",".join(part for part in target.split(",") if part != CHANNELS_LAST)
    return f"{bare},{CHANNELS_LAST}" if memory_format == CHANNELS_LAST else bare


class OnlyFor:
    """A hook before the forward pass of a module that is its original for inputs of one size alone."""

    def __init__(self, inputs: Inputs) -> None:
        self.shape = inputs[0].shape

    def __call__(self, module: nn.Module, args: tuple) -> None:
        found = tuple(args[0].shape[1:])
        if found != self.shape:
            raise ValueError(
                f"realised for inputs of {show(self.shape)}, found {show(found)}: for others the original does"
                " something else; realize(costmodel.load(module, resolution=... or inputs=...)) takes another size"
            )


def _build(network: Network, graph: Graph) -> nn.Module:
    """The module of a network's graph. Layers draw first weights at random; where they get others, nothing shows it."""
    with torch.random.fork_rng(devices=[], enabled=network.module is not None):
        return build(graph, network.module, network.weights and network.weights())


def proof_setting(network: Network, rewritten: Graph, strategy: str) -> Setting | None:
    """What the strategy sets in a network's own module; None if there is none, or if the strategy adds to it.

    A block that runs again in the backward pass computes the same gradients.
    """
    if network.module is None:
        return None
    as_is = read(strategy, network.graph).name == "as_is"
    once = replace(rewritten, checkpointed=in_own_modes(network.graph, as_is).checkpointed)
    return setting_of(network.graph, once, as_is)


CHANNELS_LAST = "channels_last"
#: The memory formats that `realize` takes.
MEMORY_FORMATS = ("contiguous", CHANNELS_LAST, "best")


def build(graph: Graph, source: nn.Module | None = None, weights: Mapping[str, Any] | None = None) -> nn.Module:
    """The graph without its loss, as a tree of modules.

    source: the module whose parameters and buffers it shares; weights: arrays that it copies, by state dict key.
    """
    if graph.returns_several:
        named = ", ".join(graph.outputs)
        raise CostmodelError(
            f"the network returns {len(graph.outputs)} tensors ({named}), which can be priced, but a realised module"
            " returns one; allowed: a network with one output"
        )
    nodes = graph.without_loss().nodes
    if source is not None or any(node.until or node.op.result is Result.GIVEN for node in nodes):
        root = flat(graph, nodes, source)
    else:
        root = _Builder(graph).frame("", list(enumerate(nodes)))
    with torch.no_grad():
        given = weights or {}
        state = root.state_dict() if given else {}
        for path in state.keys() & given.keys():
            state[path].copy_(torch.tensor(given[path]).reshape(state[path].shape))
    if graph.prefix_slices > 1:
        root.slice_prefix(graph.nodes[graph.prefix - 1].name, graph.prefix_slices)
    for node in nodes:
        if isinstance(node.op, FoldedConv2d):
            root.get_submodule(node.owner).fold(root.get_submodule(node.op.norm))
        first = getattr(node.op, "stretch", "")
        if first:
            root.get_submodule(node.owner).join(root.get_submodule(first))
    still = NotConverted(root)
    if still.norms:
        root.register_forward_pre_hook(still)
    return root


class _Builder:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.last_reader = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
        self.again = {rerun.scope: rerun for rerun in reruns(graph)}
        self.shared: dict[str, nn.Module] = {}  # modules that several nodes may call, by path

    def frame(self, scope: str, run: Run) -> Frame:
        """The module of a scope, which runs these consecutive nodes."""
        own = next((node for _, node in run if node.owner == scope), None)
        frame = with_frame(_leaf(own)) if own else Frame()
        inputs = _reads(run)
        steps: list[Step] = []
        for child, inner in self.calls(scope, run):
            end, last = inner[-1]
            reads = _reads(inner)
            if any(self.last_reader.get(node.name, -1) > end for _, node in inner[:-1]):
                raise CostmodelError(f"scope {child!r} hands out more than its last value; a module returns one")
            call: Any = child[len(scope) :].lstrip(".")
            if child:
                _place(frame, call, self.frame(child, inner))
                if child in self.again:
                    one: Step = (call, reads, last.name, [])
                    call = Again(tuple(dict.fromkeys(reads)), [one], self.again[child].is_random)
            else:
                leaf = self.leaf(frame, scope, last)
                call = leaf if last.records else Silent(leaf)
            done = [name for name in dict.fromkeys(reads) if name not in inputs and self.last_reader[name] <= end]
            steps.append((call, reads, last.name, done))
        frame.set_steps(inputs, steps, run[-1][1].name)
        return frame

    def calls(self, scope: str, run: Run) -> list[tuple[str, Run]]:
        """A run cut into calls: (scope of a child module, its nodes), or ("", one node) for an op of this scope."""
        calls: list[tuple[str, Run]] = []
        for i, node in run:
            child = next((s for s in self.graph.frames(node) if len(s) > len(scope)), "")
            if child and calls and calls[-1][0] == child:
                calls[-1][1].append((i, node))
            elif child and any(child == name for name, _ in calls):
                raise CostmodelError(f"scope {child!r} is entered twice; a module runs its nodes in one call")
            else:
                calls.append((child, [(i, node)]))
        return calls

    def leaf(self, frame: Frame, scope: str, node: Node) -> Any:
        """What a node's step calls: a submodule's path, a shared module, a function, or None for the frame's layer."""
        if node.owner == scope:
            return None
        if node.owner in self.shared:
            return self.shared[node.owner]
        leaf = _leaf(node)
        if not isinstance(leaf, nn.Module):
            return leaf
        path = node.owner[len(scope) :].lstrip(".")
        _place(frame, path, leaf)
        if node.owner != node.name:
            self.shared[node.owner] = leaf
        return path


def _reads(run: Run) -> tuple[str, ...]:
    """The values made before a run that it reads; for a single node its operands in order, repeats included."""
    if len(run) == 1:
        return run[0][1].inputs
    made = {node.name for _, node in run}
    return tuple(dict.fromkeys(name for _, node in run for name in node.inputs if name not in made))


def _leaf(node: Node) -> Any:
    """The stock module or function of a node, with its flags."""
    leaf = node.op.module(library)
    if isinstance(leaf, nn.Module):
        for name, parameter in leaf.named_parameters():
            parameter.requires_grad_(name in node.trains)
    return leaf


def _place(parent: nn.Module, path: str, module: nn.Module) -> None:
    """Register a module at a path below a parent; missing ones on the way are made as plain modules."""
    *holders, name = path.split(".")
    for holder in holders:
        if holder not in dict(parent.named_children()):
            parent.add_module(holder, nn.Module())
        parent = parent.get_submodule(holder)
    parent.add_module(name, module)
