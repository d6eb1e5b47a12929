"""The arithmetic of a step, node by node."""

from __future__ import annotations

from typing import NamedTuple

from ..sizes.size import Size


class NodeWork(NamedTuple):
    """Arithmetic of one node in one step: multiply-adds of matrix work, operations of elementwise work."""

    forward_macs: Size
    input_macs: Size  # of the gradients of activations
    weight_macs: Size  # of the gradients of parameters
    again_macs: Size  # of its second run, if it has one
    forward_elementwise: Size
    backward_elementwise: Size  # with what is done again
    again_elementwise: Size = 0  # of it: of its second run, and of maps that it makes again


def flops(work: tuple[NodeWork, ...]) -> dict[str, Size]:
    """FLOPs of some nodes, by the keys of the JSON."""
    forward, inputs, weights, again, forward_elementwise, backward_elementwise, again_elementwise = (
        map(sum, zip(*work)) if work else (0,) * len(NodeWork._fields)
    )
    return {
        "forward": 2 * forward,
        "backward": 2 * (inputs + weights + again),
        "backward_input": 2 * inputs,
        "backward_weight": 2 * weights,
        "recomputed": 2 * again,
        "total": 2 * (forward + inputs + weights + again),
        "elementwise_forward": forward_elementwise,
        "elementwise_backward": backward_elementwise,
        "elementwise_recomputed": again_elementwise,
    }
