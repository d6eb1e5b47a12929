"""The single layers that are measured: of each kind of kernels some that networks for small devices have."""

from __future__ import annotations

from ...graph.op import Op
from ...ops.activation import GELU, Hardsigmoid, Hardswish, ReLU, ReLU6, Sigmoid, SiLU
from ...ops.arithmetic import Add, Mul
from ...ops.conv import Conv2d
from ...ops.layout import Cat
from ...ops.linear import Linear
from ...ops.matmul import Matmul
from ...ops.norm import BatchNorm, GroupNorm
from ...ops.pool import AdaptiveAvgPool2d, MaxPool2d
from ...sizes.size import Shape

BATCH = 4

#: Of convolutions: channels of input and output, kernel, stride, side of the input, groups.
CONVOLUTIONS = (
    (3, 32, 3, 2, 128, 1), (3, 64, 7, 2, 128, 1), (16, 32, 3, 2, 64, 1), (64, 64, 3, 1, 32, 1), (128, 128, 3, 1, 16, 1),
    (256, 256, 3, 1, 8, 1),
    (32, 16, 1, 1, 64, 1), (16, 96, 1, 1, 64, 1), (24, 144, 1, 1, 32, 1), (144, 24, 1, 1, 32, 1),
    (32, 192, 1, 1, 16, 1), (192, 32, 1, 1, 16, 1), (96, 576, 1, 1, 8, 1), (576, 96, 1, 1, 8, 1),
    (160, 960, 1, 1, 4, 1), (960, 160, 1, 1, 4, 1),
    (32, 32, 3, 1, 64, 32), (96, 96, 3, 2, 64, 96), (144, 144, 3, 1, 32, 144), (192, 192, 3, 1, 16, 192),
    (384, 384, 3, 1, 8, 384), (576, 576, 3, 2, 8, 576), (960, 960, 3, 1, 4, 960),
    (72, 72, 5, 2, 32, 72), (120, 120, 5, 1, 16, 120), (240, 240, 5, 1, 16, 240), (480, 480, 5, 1, 8, 480),
    (960, 960, 5, 1, 4, 960), (144, 144, 7, 1, 16, 144), (60, 60, 9, 1, 16, 60),
    (64, 64, 3, 1, 32, 4), (96, 96, 1, 1, 16, 2), (128, 128, 3, 1, 16, 32),
)  # fmt: skip
LINEARS = ((1280, 1000), (512, 1000), (960, 1280))
#: Of maps: channels and side.
NORMED = ((32, 64), (96, 64), (144, 32), (192, 16), (576, 8), (960, 4))
MAPS = ((96, 64), (144, 32), (192, 16), (576, 8))
GATED = ((72, 32), (144, 32), (240, 16), (672, 8))
POOLED = (*GATED[1:], (1280, 4))


def cases() -> list[tuple[Op, tuple[Shape, ...]]]:
    """The layers, each with the shapes of its inputs."""

    def maps(channels: int, side: int, number: int = 1) -> tuple[Shape, ...]:
        return ((BATCH, channels, side, side),) * number

    found: list[tuple[Op, tuple[Shape, ...]]] = [
        (Conv2d(i, o, k, s, k // 2, groups=groups), maps(i, side)) for i, o, k, s, side, groups in CONVOLUTIONS
    ]
    found += [(Linear(i, o, True), ((BATCH, i),)) for i, o in LINEARS]
    found += [(Matmul(), ((BATCH, 4, n, 32), (BATCH, 4, 32, n))) for n in (64, 196)]
    found += [(BatchNorm(c, statistics), maps(c, s)) for statistics in ("batch", "frozen") for c, s in NORMED]
    found += [(GroupNorm(8, c), maps(c, s)) for c, s in MAPS]
    found += [(kind(), maps(c, s)) for kind in (ReLU, ReLU6, Hardswish, Hardsigmoid) for c, s in MAPS]
    found += [(kind(), maps(c, s)) for kind in (SiLU, Sigmoid, GELU) for c, s in MAPS]
    found += [(Add(False), maps(c, s, 2)) for c, s in ((24, 64), (32, 32), (64, 16), (160, 8))]
    found += [(Mul(False), (*maps(c, s), *maps(c, 1))) for c, s in GATED]
    found += [(AdaptiveAvgPool2d(1), maps(c, s)) for c, s in POOLED]
    found += [(MaxPool2d(3, 2, 1), maps(c, s)) for c, s in ((64, 64), (144, 32))]
    return [*found, *((Cat(2), maps(c, s, 2)) for c, s in MAPS[:3])]
