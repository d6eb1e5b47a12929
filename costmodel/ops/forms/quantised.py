"""A layer keeps its input in a few bits a number, rounded at random so that its mean is right.

Per image, each group of 256 numbers in the order of memory has its lowest number and its step in 32 bits; a number is
the lowest plus a whole number of steps (as ActNN does: Chen et al., ICML 2021). The input's gradient is exact, the
weight's right on average.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.op import OPS, Extra, Scratch, Stock, Work, check, op, shared_fields
from ...sizes.size import Shape, Size, beyond, maximum, minimum, numel
from ...targets.setting import SUM_BYTES, Setting
from ..activation import Activation
from ..norm import BatchNorm, batch_norm_scratch
from ._restored import Restored, RestoredConv2d, RestoredLinear

GROUP = 256  # numbers
#: Numbers that are rounded at a time.
CHUNK = 1 << 16
BITS = (1, 2, 4, 8)
SMOOTH = ("hardswish", "silu", "gelu")  # activations that keep their input


@shared_fields
class Quantised(Restored):
    """A layer that keeps its input rounded. bits: of each number."""

    quantised_bits: int = 4

    form = ("codes", "lows", "steps")
    in_words = "rounded to a few bits"
    makes = 6  # lowest, highest, difference, quotient, noise, rounding
    restores = 2
    is_random = True

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = ", ".join(map(str, BITS))
        check(self.quantised_bits in BITS, f"bits is {self.quantised_bits}; allowed: {allowed}")

    def made(self, x: Shape) -> dict[str, Extra]:
        numbers, in_a_byte = numel(x[1:]), 8 // self.quantised_bits
        groups = Extra((x[0], -(-numbers // GROUP)), 8 * SUM_BYTES)
        return {"codes": Extra((x[0], -(-numbers // in_a_byte)), 8), "lows": groups, "steps": groups}

    def making(self, setting: Setting, x: Shape) -> Size:
        groups = minimum(-(-numel(x[1:]) // GROUP), CHUNK // GROUP)
        return 2 * SUM_BYTES * GROUP * groups  # numbers, and noise

    def restoring(self, setting: Setting, x: Shape) -> Size:
        in_a_byte = 8 // self.quantised_bits
        several = -(-minimum(numel(x[1:]), CHUNK) // in_a_byte) * in_a_byte
        # A byte for each number, and the shifts, then the number by which the others' bits are cut off.
        return several + maximum(in_a_byte, setting.target.number_bytes(1)) if in_a_byte > 1 else 0


@op("quantised_conv2d")
class QuantisedConv2d(Quantised, RestoredConv2d):
    """A convolution that keeps its input rounded to a few bits."""

    def module(self, library: Any) -> Callable:
        return library.lean.QuantisedConv2d(*self.arguments(), bits=self.quantised_bits)


@op("quantised_linear")
class QuantisedLinear(Quantised, RestoredLinear):
    """A linear layer that keeps its input rounded to a few bits."""

    def module(self, library: Any) -> Callable:
        return library.lean.QuantisedLinear(self.in_features, self.out_features, self.bias, bits=self.quantised_bits)


@op("quantised_batch_norm")
class QuantisedBatchNorm(Quantised, BatchNorm):
    """A batch norm of images that keeps its input rounded to a few bits."""

    stock = Stock(in_python=True)
    casts = BatchNorm.casts
    is_plain = False  # it has no further lean form

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.dims == 2 and self.affine, "a norm that keeps its input rounded is of images, with scale and shift")

    def needs(self) -> dict[str, tuple[str, ...]]:
        if self.statistics == "batch":
            read = (*self.form, "mean", "invstd")
            return {"x": (*read, "weight"), "weight": read, "bias": ()}
        return {"x": ("running_var", "weight"), "weight": (*self.form, "running_mean", "running_var"), "bias": ()}

    def scratch(self, setting: Setting, y: Shape, x: Shape, *_: Shape) -> Scratch:
        map_, vector = setting.item * numel(x), setting.parameter_item * self.channels
        batch = self.statistics == "batch"
        keeps = bool({"weight", "x"} & {*setting.demanded}) if batch else "weight" in setting.demanded
        if not keeps and "x" not in setting.demanded:
            forward = batch_norm_scratch(setting, self.channels, batch, True, y, x).forward
            return Scratch(forward + 2 * vector * (batch and bool(setting.demanded)), setting.channel_sums(y))
        inner = batch_norm_scratch(setting, self.channels, batch, True, y, x)
        wanted = map_ * ("x" in setting.demanded) + vector * len({"weight", "bias"} & {*setting.demanded})
        if not keeps:
            return Scratch(inner.forward, inner.backward)
        form = self.form_bytes(setting, x)
        backward = beyond(wanted, map_ + self.restoring(setting, x), wanted + map_ + inner.backward)
        return Scratch(beyond(form, inner.forward, form + self.making(setting, x)), backward)

    def module(self, library: Any) -> Callable:
        name = "QuantisedBatchNorm2d" if self.statistics == "batch" else "FrozenQuantisedBatchNorm2d"
        return getattr(library.lean, name)(self.channels, self.eps, self.momentum, bits=self.quantised_bits)


@op("quantised_activation")
class QuantisedActivation(Quantised, Activation):
    """An activation that keeps its input rounded to a few bits. of: hardswish, silu or gelu."""

    of: str = "hardswish"
    approximate: str = "none"

    casts = Activation.casts

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.of in SMOOTH, f"of is {self.of!r}; allowed: {', '.join(SMOOTH)}")

    @property
    def timed_as(self) -> tuple[str, ...]:
        return OPS[self.of].timed_as

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": self.form}

    def made(self, x: Shape) -> dict[str, Extra]:
        return super().made(x if len(x) > 1 else (1, *x))

    def work(self, y: Shape, x: Shape, *_: Shape) -> dict[str, Work]:
        n, (forward, backward) = numel(y), OPS[self.of].operations  # type: ignore[attr-defined]
        return {"forward": Work(0, (forward + self.makes) * n), "x": Work(0, (backward + self.restores) * n)}

    def scratch(self, setting: Setting, y: Shape, x: Shape, *_: Shape) -> Scratch:
        form, map_ = self.form_bytes(setting, x), setting.item * numel(x)
        if not setting.demanded:
            return Scratch()
        return Scratch(beyond(form, form + self.making(setting, x)), maximum(map_, self.restoring(setting, x)))

    def module(self, library: Any) -> Callable:
        return library.lean.QuantisedActivation(self.of, self.approximate, bits=self.quantised_bits)


QuantisedConv2d.examples = (
    (QuantisedConv2d(8, 12, 3, padding=1), (2, 8, 7, 5)),
    (QuantisedConv2d(8, 8, 3, 2, 1, groups=8, bias=True, quantised_bits=2), (3, 8, 9, 7)),
    (QuantisedConv2d(8, 16, 1, quantised_bits=8), (2, 8, 7, 7)),
)
QuantisedLinear.examples = (
    (QuantisedLinear(300, 6), (3, 300)),
    (QuantisedLinear(9, 6, False, quantised_bits=1), (2, 9)),
)
QuantisedBatchNorm.examples = (
    (QuantisedBatchNorm(8), (2, 8, 7, 5)),
    (QuantisedBatchNorm(8, "frozen", quantised_bits=2), (3, 8, 9, 7)),
)
QuantisedActivation.examples = (
    (QuantisedActivation(), (2, 8, 7, 5)),
    (QuantisedActivation(of="silu", quantised_bits=8), (3, 40)),
    (QuantisedActivation(of="gelu"), (2, 8, 7, 5)),
)
