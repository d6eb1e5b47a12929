"""Ops that draw random numbers: noise, and in training dropout and stochastic depth."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from typing import Any

from ..graph.op import Extra, Op, Result, Scratch, Work, check, op
from ..sizes.size import Shape, Size, maximum, numel
from ..targets.setting import Setting
from .mask import MASK


class Noise(Op):
    """y = x * noise, where noise is 0 or 1 / (1 - p). Subclasses give the shape of the noise.

    With p = 0, or off, it returns its input.
    """

    timed_as = ("product",)

    p: float
    active: bool
    inplace: bool

    in_16_bits = True

    def noise_shape(self, x: Shape) -> Shape:
        """The noise's shape for the input's."""
        raise NotImplementedError

    @property
    def is_off(self) -> bool:
        """Whether the op returns its input."""
        return self.p == 0 or not self.active

    @property
    def result(self) -> Result:
        return Result.VIEW if self.is_off else super().result

    @property
    def passes(self) -> tuple[str, ...]:
        return ("x",) if self.is_off else ()

    def hands_over(self, name: str) -> bool:
        return False  # in evaluation mode a module passes the gradient as it is, and others may hold it

    def __post_init__(self) -> None:
        check(0 <= self.p <= 1, f"p is {self.p}; allowed: from 0 to 1")

    def evaluated(self) -> Op:
        return replace(self, active=False)

    def shape(self, x: Shape) -> Shape:
        return x

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()} if self.is_off else {"x": ("mask",)}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        # On the CPU dropout multiplies by a random tensor of x's data type (aten/src/ATen/native/Dropout.cpp).
        return {"x": ()} if self.is_off else {"x": ("noise",)}

    def saves_late(self, operands: Set[str]) -> bool:
        return False  # the product saves the noise before it computes

    def divisor(self, setting: Setting) -> Size:
        """Bytes of the number by which the noise is divided."""
        return setting.python_number

    @property
    def is_random(self) -> bool:
        return not self.is_off

    def extras(self, x: Shape) -> dict[str, Extra]:
        shape = self.noise_shape(x)
        return {"mask": Extra(shape, 1), "noise": Extra(shape)}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = Work() if self.is_off else Work(0, numel(y))
        return {"forward": n, "x": n}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        if self.is_off:
            return Scratch()
        # The noise is divided by a number before the output is made; without a backward pass it is freed at the end.
        output = 0 if self.inplace else setting.item * numel(y)
        noise = 0 if setting.recorded else setting.item * numel(self.noise_shape(x))
        divisor = self.divisor(setting)
        return Scratch(noise + maximum(divisor - output, 0), stopped=divisor)


@op("dropout")
class Dropout(Noise):
    """torch.nn.Dropout: each element kept with probability 1 - p. `active`: the module is in training mode."""

    p: float = 0.5
    inplace: bool = False
    active: bool = True

    def divisor(self, setting: Setting) -> Size:
        return setting.scalar  # the number is made within the op

    def noise_shape(self, x: Shape) -> Shape:
        return () if self.p == 1 else x  # p = 1: torch multiplies by one zero

    def on_gpu(self) -> Op:
        plain = self.is_off or self.inplace or self.p == 1  # Dropout.cpp: is_fused_kernel_acceptable
        return self if plain else FusedDropout(self.p)

    def module(self, library: Any) -> Callable:
        return library.nn.Dropout(self.p, self.inplace) if self.active else library.nn.Identity()


class FusedDropout(Dropout):
    """Dropout by a GPU's own kernel, which keeps a bool for each element (aten/src/ATen/native/cuda/Dropout.cu)."""

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("kept",)}

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {**super().extras(x), "kept": Extra(x, MASK)}

    def saves_late(self, operands: Set[str]) -> bool:
        return True

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(0 if setting.recorded else numel(x))


@op("feature_dropout")
class FeatureDropout(Noise):
    """torch.nn.Dropout2d and its kin: each channel of each image kept as a whole with probability 1 - p.

    axes: beside batch and channels.
    """

    p: float = 0.5
    inplace: bool = False
    active: bool = True
    axes: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check(1 <= self.axes <= 3, f"axes is {self.axes}; allowed: 1, 2, 3")

    def divisor(self, setting: Setting) -> Size:
        return setting.scalar

    def noise_shape(self, x: Shape) -> Shape:
        return () if self.p == 1 else (*x[:2], *(1 for _ in x[2:]))

    def module(self, library: Any) -> Callable:
        layer = getattr(library.nn, f"Dropout{self.axes}d")
        return layer(self.p, self.inplace) if self.active else library.nn.Identity()


@op("stochastic_depth")
class StochasticDepth(Noise):
    """torchvision.ops.StochasticDepth: drops the whole residual branch, of single images ("row") or of the batch."""

    p: float
    mode: str = "row"
    active: bool = True

    inplace = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.mode in ("row", "batch"), f"mode is {self.mode!r}; allowed: row, batch")

    def noise_shape(self, x: Shape) -> Shape:
        return (x[0] if self.mode == "row" else 1,) + (1,) * (len(x) - 1)

    def module(self, library: Any) -> Callable:
        return library.StochasticDepth(self.p, self.mode) if self.active else library.nn.Identity()


@op("random")
class Random(Op):
    """Random numbers in the shape of `like`, of the normal distribution, or from 0 to 1 with `uniform`."""

    uniform: bool = False

    inputs = ("like",)
    differentiable = False
    in_16_bits = True
    is_random = True

    def shape(self, like: Shape) -> Shape:
        return like

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {}

    def work(self, y: Shape, like: Shape) -> dict[str, Work]:
        return {"forward": Work(0, numel(y))}

    def module(self, library: Any) -> Callable:
        return library.torch.rand_like if self.uniform else library.torch.randn_like


Dropout.examples = (
    (Dropout(0.2), (2, 9)),
    (Dropout(0.2, inplace=True), (2, 9)),
    (Dropout(0.0), (2, 9)),
    (Dropout(1.0), (2, 9)),
    (Dropout(0.5, active=False), (2, 9)),
)
FeatureDropout.examples = (
    (FeatureDropout(0.2), (2, 3, 5, 4)),
    (FeatureDropout(0.2, inplace=True), (2, 3, 5, 4)),
    (FeatureDropout(0.3, axes=1), (2, 3, 5)),
    (FeatureDropout(0.5, active=False), (2, 3, 5)),
)
Random.examples = ((Random(), (2, 8, 5, 3)), (Random(uniform=True), (2, 8, 5, 3)))
StochasticDepth.examples = (
    (StochasticDepth(0.3), (4, 3, 5, 5)),
    (StochasticDepth(0.3, mode="batch"), (4, 3, 5, 5)),
    (StochasticDepth(0.0), (4, 3, 5, 5)),
)
