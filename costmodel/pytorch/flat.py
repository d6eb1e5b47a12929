"""Makes a module of a traced graph: one forward runs all nodes, and frees each value when the trace saw it freed.

The original module's Python code does not run again; its parameters and buffers are shared, under their own paths.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import CostmodelError
from ..graph.checkpointing import RNG_STATE, passing_states, reruns
from ..graph.graph import INPUT, Graph, Node
from ..graph.lifetimes import frame_ends
from ..graph.op import Result
from ..ops.given import Given
from . import library
from .modules import Again, Frame, Owned, Pieces, Silent, Step, Tensors


def flat(graph: Graph, nodes: tuple[Node, ...], source: nn.Module | None) -> Frame:
    """A module that runs a graph's nodes, with the parameters and buffers of `source`. nodes: all but the loss.

    It takes its inputs by position.
    """
    if source is not None:
        refuse_hooks(source)
    root = Frame()
    given = [node.name for node in nodes if isinstance(node.op, Given)]
    leaves = [None if node.name in given else node.op.module(library) for node in nodes]
    paths = _place_all(root, nodes, leaves)
    ends = frame_ends(graph)
    steps: list[Step] = []
    for i, (node, leaf) in enumerate(zip(nodes, leaves)):
        if leaf is None:
            continue
        call: Any = paths.get(i, leaf)
        if isinstance(leaf, Tensors):
            call = Owned(node.owner, leaf.name)
        elif node.op.result is Result.PIECE:
            call = Pieces((node.op,), (node.name,))
        if not node.records:
            call = Silent(call)
        done = [nodes[v - 1].name for v in ends.get(i, ()) if v < len(nodes)]
        steps.append((call, node.inputs, node.name, done))
    number = {output: k for k, (_, _, output, _) in enumerate(steps)}
    for rerun in reversed(reruns(graph)):
        inside = [number[nodes[i].name] for i in rerun.run if nodes[i].name in number]
        run = slice(inside[0], inside[-1] + 1)
        again, read = steps[run], [nodes[v - 1].name if v else INPUT for v in rerun.given]
        ours = {name for _, _, name, _ in again}
        inner: list[Step] = [
            (call, reads, output, [name for name in done if name in ours]) for call, reads, output, done in again
        ]
        done = [name for *_, done in again for name in done if name not in ours]
        steps[run] = [(Again(tuple(read), at_once(inner), rerun.is_random), read, again[-1][2], done)]
    for first, last in passing_states(graph).items():  # torch.utils.checkpoint holds one while it runs
        at = {output: k for k, (_, _, output, _) in enumerate(steps)}
        steps[at[nodes[last].name]][3].append(f"{nodes[first].name} {RNG_STATE}")
        steps.insert(at[nodes[first].name], (torch.get_rng_state, (), f"{nodes[first].name} {RNG_STATE}", []))
    root.set_steps((INPUT, *given), at_once(steps), nodes[-1].name)
    if source is not None:
        share(root, source)
        in_order(root, source)
    for owner, name in graph.parameters:
        getattr(root.get_submodule(owner), name).requires_grad_((owner, name) in graph.flagged)
    return root


def at_once(steps: list[Step]) -> list[Step]:
    """The steps, consecutive pieces of one value merged into one step, so that torch joins their gradients at once."""
    found: list[Step] = []
    for step in steps:
        call, reads, output, done = step
        before = found[-1] if found else None
        if before and isinstance(call, Pieces) and isinstance(before[0], Pieces) and before[1] == reads:
            both = Pieces(before[0].ops + call.ops, before[0].outputs + call.outputs)
            found[-1] = (both, reads, output, [*before[3], *done])
        else:
            found.append(step)
    return found


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def refuse_hooks(source: nn.Module) -> None:
    """Raise CostmodelError if a module has hooks, which the realised module would not run."""
    for path, child in source.named_modules():
        found = [name.strip("_").replace("_", " ") for name in HOOKS if getattr(child, name, None)]
        if found:
            where = f"{path or 'the network'} ({type(child).__name__})"
            hooks = " and ".join(found)
            raise CostmodelError(f"{where} has {hooks}, which a realised module would not run: remove them")


def _place_all(root: nn.Module, nodes: tuple[Node, ...], leaves: list[Any]) -> dict[int, str]:
    """Register every leaf module under its owner's path; returns the path of each node's leaf, by node number."""
    paths: dict[int, str] = {}
    at: dict[str, Node] = {}
    # Shorter paths first: a composite's own layer goes before the modules in it.
    for i in sorted(range(len(nodes)), key=lambda i: nodes[i].owner.count(".")):
        node, leaf = nodes[i], leaves[i]
        if not isinstance(leaf, nn.Module) or isinstance(leaf, Tensors):
            continue
        path = node.owner if node.op.params() or node.op.buffers() else node.name
        if path in at:
            if at[path].op != node.op:
                raise CostmodelError(f"module {path!r} is called as {at[path].op} and as {node.op}")
        elif path == "":
            raise CostmodelError("a network that is a single layer has nothing to rewrite; wrap it in a Sequential")
        else:
            _place(root, path, leaf)
            at[path] = node
        paths[i] = path
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensors):
            owner = _holder(root, nodes[i].owner)
            for name, parameter in leaf._parameters.items():
                if name not in owner._parameters:
                    owner.register_parameter(name, parameter)
            for name, buffer in leaf._buffers.items():
                if name not in owner._buffers:
                    owner.register_buffer(name, buffer)
    return paths


def _holder(root: nn.Module, path: str) -> nn.Module:
    """The module at a path; missing ones on the way are made as plain modules."""
    for name in filter(None, path.split(".")):
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root._modules[name]
    return root


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    holder, _, name = path.rpartition(".")
    try:
        _holder(root, holder).add_module(name, module)
    except KeyError:
        raise CostmodelError(f"a layer is called {path!r}, and {name!r} means something to torch.nn.Module") from None


def share(root: nn.Module, source: nn.Module) -> None:
    """Give a module the parameters and buffers of another: the same storage, but flags of its own.

    Tensors that the graph does not use are shared too, frozen, so that each module loads the other's state dict.
    """
    mine: dict[int, nn.Parameter] = {}
    for path, child in source.named_modules(remove_duplicate=False):
        for name, parameter in child._parameters.items():
            if parameter is not None:
                if id(parameter) not in mine:
                    mine[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
                _set(_holder(root, path), "_parameters", name, mine[id(parameter)])
        for name, buffer in child._buffers.items():
            if buffer is not None:
                _set(_holder(root, path), "_buffers", name, buffer.detach())
                if name in child._non_persistent_buffers_set:
                    _holder(root, path)._non_persistent_buffers_set.add(name)


def _set(holder: nn.Module, kind: str, name: str, tensor: Any) -> None:
    if name in holder.__dict__:
        del holder.__dict__[name]
    getattr(holder, kind)[name] = tensor


def in_order(root: nn.Module, source: nn.Module) -> None:
    """Put submodules, parameters and buffers in another module's order, so that state dicts have the same order."""
    for path, child in source.named_modules():
        try:
            mine = root.get_submodule(path)
        except AttributeError:
            continue
        for kind in ("_modules", "_parameters", "_buffers"):
            theirs, own = getattr(child, kind), getattr(mine, kind)
            for name in [*(n for n in theirs if n in own), *(n for n in own if n not in theirs)]:
                own[name] = own.pop(name)
