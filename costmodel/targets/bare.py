"""No device: the tensors alone, without scratch inside kernels and without rounding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..sizes.size import Shape, Size, where
from .machine import OF_X86, own_kernels_here
from .onednn_levels import in_onednn
from .setting import NUMBER_BYTES, Setting
from .target import CHANNELS_LAST, THREADS, ConvolutionKernels, OwnKernels, Target, device


class BiasAlone(ConvolutionKernels):
    """oneDNN makes the weight's gradient too, where the bias's alone is wanted: a tensor of `made` bytes."""

    def __init__(self, conv: Any, threads: int, made: int, dtype: str) -> None:
        self.conv, self.threads, self.made, self.dtype = conv, threads, made, dtype

    def __call__(self, y: Shape, x: Shape) -> tuple[Size, Size]:
        return 0, where(in_onednn(self.conv, self.threads, x[0], x[2] * x[3], self.dtype), self.made, 0)


@device("none")
@dataclass(frozen=True)
class Bare(Target):
    """The tensors that PyTorch's dispatcher sees.

    With several threads there may be more of them on a CPU: a gradient that nobody asked for. own: what lean layers
    call on the processor that they run on, which makes tensors, too.
    """

    own: OwnKernels | None = OF_X86

    options = {"threads": THREADS, "channels_last": CHANNELS_LAST}
    counts_unseen = False

    @classmethod
    def here(cls) -> Target:
        return cls(own=own_kernels_here())

    @property
    def own_kernels(self) -> OwnKernels | None:
        return self.own

    def convolution(self, conv: Any, setting: Setting) -> ConvolutionKernels:
        if "bias" not in setting.demanded or "weight" in setting.demanded:
            return super().convolution(conv, setting)
        made = setting.item * conv.out_channels * conv.macs_per_output
        return BiasAlone(conv, self.threads, made, setting.dtype)

    def python_number_bytes(self, item: int) -> int:
        return NUMBER_BYTES

    def to_dict(self) -> dict[str, Any]:
        threads = {"threads": self.threads} if self.threads > 1 else {}
        return {"device": "none", **threads, **({"memory_format": self.memory_format} if self.channels_last else {})}

    def __str__(self) -> str:
        return "tensors alone, on no device" + (", channels_last" if self.channels_last else "")
