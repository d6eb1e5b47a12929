"""Which of a device's kernels an op runs, as far as their speed differs.

Words:
- A kind of kernels is a name under which a device's file tells how fast they are (costmodel/devices/).
- A pass of an op is one reading and writing of its maps: forward, the gradient of the input, that of the weight.
"""

from __future__ import annotations

#: The kinds of kernels -> the kind whose speed is taken for them where a device's file has none of their own.
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
    "copy": "activation",
    "update": "activation",  # of parameters
}


def of_convolution(channels: int, groups: int, kernel: tuple[int, ...]) -> str:
    """The kind of kernels of a convolution. channels: of its input."""
    if groups == 1:
        return "pointwise" if max(kernel) == 1 else "convolution"
    if groups < channels:
        return "grouped"
    return "wide_depthwise" if max(kernel) >= 5 else "depthwise"


class Timing:
    """The hook for how long an op takes."""

    #: Kinds of its kernels, one after another in each pass.
    timed_as: tuple[str, ...] = ("elementwise",)
