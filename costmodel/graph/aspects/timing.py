"""Which of a device's kernels an op runs, as far as their speed differs.

Words:
- A kind of kernels is a name under which a device's file tells how fast they are (costmodel/devices/kinds.py).
- A pass of an op is one reading and writing of its maps: forward, the gradient of the input, that of the weight.
"""

from __future__ import annotations


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
