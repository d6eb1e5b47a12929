"""Translates ONNX's operators into ops where they work on volumes (N, C, D, H, W), and local response norms.

Where they work on images, layers.py does.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..registry import Entry
from .layers import OPERATORS, is_stored, operator, refuse
from .shapes import reshaped
from .tensors import as_decimal


def padding_of(r) -> Sequence[int]:
    """The padding of a window in three axes. Raises CostmodelError if it is not the same on both sides."""
    pads = r.attribute("pads", [0] * 6)
    uneven = r.attribute("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or pads[:3] != pads[3:]
    refuse(uneven, "padding of volumes that is not the same on both sides")
    return pads[:3]


of_images = OPERATORS["Conv"]


@operator("Conv")
def conv(r, x, weight, bias=None):
    if len(weight.shape) != 5:
        return of_images(r, x, weight, bias)
    computed = not is_stored(weight) or bias is not None and not is_stored(bias)
    refuse(computed, "a convolution of volumes by a weight that is computed")
    out, per_group, *kernel = weight.shape
    groups = r.attribute("group", 1)
    fields = {
        "in_channels": per_group * groups,
        "out_channels": out,
        "kernel": kernel,
        "stride": r.attribute("strides", [1] * 3),
        "padding": padding_of(r),
        "dilation": r.attribute("dilations", [1] * 3),
        "groups": groups,
        "bias": bias is not None,
    }
    return r.emit("conv3d", fields, [x], weight=weight, bias=bias)


def pool(kind: str, of_images: Entry) -> Entry:
    """The entry of a pooling operator. kind: of volumes; of_images: the entry for images."""

    def entry(r, x):
        kernel = r.attribute("kernel_shape")
        if len(kernel) != 3:
            return of_images(r, x)
        refuse(list(r.attribute("dilations", [1] * 3)) != [1] * 3, "pooling of volumes with dilations")
        fields = {"kernel": kernel, "stride": r.attribute("strides", [1] * 3), "padding": padding_of(r)}
        fields["ceil"] = bool(r.attribute("ceil_mode", 0))
        if kind == "avg_pool3d":
            fields["count_include_pad"] = bool(r.attribute("count_include_pad", 0)) or not any(fields["padding"])
        return r.emit(kind, fields, [x])

    return entry


OPERATORS["MaxPool"] = pool("max_pool3d", OPERATORS["MaxPool"])
OPERATORS["AveragePool"] = pool("avg_pool3d", OPERATORS["AveragePool"])


@operator("LRN")
def local_response_norm(r, x):
    """As torch.nn.functional.local_response_norm: x over a power of the mean of squares of neighbouring channels.

    Of an even number of channels, ONNX takes one more behind, torch one more before.
    """
    x, size = r.live(x), r.attribute("size")
    n, channels, *sides = x.shape
    squares = reshaped(r, r.emit("mul", {}, [x, x]), (n, 1, channels, *sides))
    pads = [0] * 4 + [(size - 1) // 2, size // 2]
    padded = r.emit("pad", {"pads": pads}, [squares])
    means = r.emit("avg_pool3d", {"kernel": [size, 1, 1], "stride": [1] * 3}, [padded])
    found = reshaped(r, means, x.shape)
    for kind, number in (
        ("mul_number", r.attribute("alpha", 1e-4)),
        ("add_number", r.attribute("bias", 1.0)),
        ("pow_number", r.attribute("beta", 0.75)),
    ):
        found = r.emit(kind, {"number": as_decimal(number)}, [found])
    return r.emit("div", {}, [x, found])
