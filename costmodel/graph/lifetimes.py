"""How long PyTorch's call frames hold a value."""

from __future__ import annotations

from .checkpointing import reruns
from .graph import Graph


def abandoned_ends(graph: Graph) -> dict[int, list[int]]:
    """Node -> the nodes recorded in vain whose autograd node, and with it what that keeps, is freed once it has run.

    An autograd node lives as long as its output or an autograd node that reads the output does. A view holds its base,
    even one that is made without autograd, unless it is detached.
    """
    if not any(graph.abandoned):
        return {}
    death = {v: end for end, values in frame_ends(graph).items() for v in values}
    for i in range(len(graph) - 1, -1, -1):
        node = graph.nodes[i]
        if node.records or node.op.result.is_view and node.op.kind != "detach":
            for v in graph.reads[i]:
                death[v] = max(death.get(v, 0), death[i + 1])
    ends: dict[int, list[int]] = {}
    for i, gradients in enumerate(graph.abandoned):
        if gradients:
            ends.setdefault(death[i + 1], []).append(i)
    return ends


def frame_ends(graph: Graph) -> dict[int, list[int]]:
    """Node -> the values that no call frame holds any longer once the node has run.

    If a node reads a value that was made outside its module, the module received the value through its call and holds
    it until it returns. The outermost such module counts that does not also enclose the node that made the value. In a
    traced graph the recorded lifetime (`Node.until`) counts instead. What autocast casts for a node is held until that
    node has run. A value that is made again in the backward pass holds what it is made of.
    """
    frames = [graph.frames(graph.nodes[host]) for host in graph.hosts]
    last = {frame: i for i, inside in enumerate(frames) for frame in inside}
    number = {node.name: i for i, node in enumerate(graph.nodes)}
    # death[i]: the last node during which the output of node i is held.
    death = [max(i, number.get(node.until, i)) for i, node in enumerate(graph.nodes)]
    for i, reads in enumerate(graph.reads):
        for v in reads:
            if v == 0:
                continue
            if graph.nodes[v - 1].until:
                death[v - 1] = max(death[v - 1], i if graph.nodes[v - 1].host else graph.hosts[i])
                continue
            made, read = frames[v - 1], frames[i]
            common = 0
            while common < len(made) and common < len(read) and made[common] == read[common]:
                common += 1
            end = last[read[common]] if common < len(read) else graph.hosts[i]
            death[v - 1] = max(death[v - 1], end)
    for rerun in reruns(graph):
        for v in rerun.given:
            if v:
                death[v - 1] = max(death[v - 1], rerun.run.stop - 1)
        for i in rerun.run[:-1]:
            if not graph.nodes[i].host:  # autocast holds what it caches for longer
                death[i] = min(death[i], rerun.run.stop - 1)
    _held_by_recipes(graph, death)
    death[-1] = len(graph)  # the result is the caller's
    for name in graph.outputs if not graph.has_loss else ():
        death[number[name]] = len(graph)
    ends: dict[int, list[int]] = {}
    for i, end in enumerate(death):
        ends.setdefault(end, []).append(i + 1)
    return ends


def _held_by_recipes(graph: Graph, death: list[int]) -> None:
    """Prolong the lives of values from which another one is made again: that one holds them. death: by node.

    Of views of one value, which share its storage, the last is prolonged. (Of a frozen prefix that runs on slices, all
    but the result is a slice's own.)
    """
    views: dict[int, list[int]] = {}
    for i, content in enumerate(graph.content[1:]):
        views.setdefault(content, []).append(i)
    for v, roots in graph.roots.items():
        last = max(death[i] for i in views[v])
        held = [max(i for i in views[root] if i < v) for root in roots if root]
        for i in (*views[v], *held):
            death[i] = max(death[i], last)
