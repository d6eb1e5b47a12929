"""The kinds of kernels whose speed a device's file may tell; ops name theirs (Op.timed_as)."""

from __future__ import annotations

#: Each kind -> the kind whose speed is taken for it where a device's file has none of its own.
KINDS = {
    "convolution": "",
    "pointwise": "convolution",  # of one pixel
    "depthwise": "convolution",
    "wide_depthwise": "depthwise",  # of five pixels and more
    "grouped": "convolution",
    "linear": "pointwise",
    "matmul": "linear",
    "batch_norm": "",
    "frozen_norm": "batch_norm",
    "group_norm": "batch_norm",
    "activation": "",  # piecewise linear, or nearly so
    "exponential": "activation",  # activations with an exponential, softmax
    "elementwise": "activation",
    "sum": "activation",
    "product": "activation",
    "pool": "activation",
    "max_pool": "pool",
    "copy": "activation",
    "update": "activation",  # of parameters
}
#: The passes of a layer over its maps, and of an optimizer over parameters (step/passes.py).
FORWARD, INPUT, WEIGHT, BACKWARD, AGAIN, UPDATE = PASSES = (
    "forward", "input", "weight", "backward", "again", "update"
)  # fmt: skip
