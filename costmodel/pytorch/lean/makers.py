"""Makers: what makes a norm's result, or a sum, again in the backward pass, slice by slice of the batch.

It is made by the kernel that made it first, from the same numbers: equal to the last bit (in float16, whose statistics
are rounded before they are kept, to the last bit but one).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ...ops import remade
from ...ops.remade import READS_INPUT, SIGNED
from ..bits import format_of
from .masked import FORWARD

aten = torch.ops.aten


def _same(g: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
    return g if out is g or out is None else out.copy_(g)


def _relu(g: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
    return aten.threshold_backward.grad_input(g, y, 0, grad_input=g if out is None else out)


def _relu6(g: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
    return aten.hardtanh_backward.grad_input(g, y, 0, 6, grad_input=g if out is None else out)


def _hardswish(g: Tensor, z: Tensor, out: Tensor | None) -> Tensor:
    made = aten.hardswish_backward(g, z)  # its form with `out` makes a new tensor, too
    return made if out is None else out.copy_(made)


def _silu(g: Tensor, z: Tensor, out: Tensor | None) -> Tensor:
    return aten.silu_backward.grad_input(g, z, grad_input=g if out is None else out)


#: By kind, an activation's derivative times a gradient g, made of what it reads (y, or z = norm(x): READS_INPUT) into
#: `out`; None: the result may be g or a new tensor.
BACKWARD = {"": _same, "relu": _relu, "relu6": _relu6, f"{SIGNED}relu6": _relu, "hardswish": _hardswish, "silu": _silu}


def activated_(of: str, z: Tensor) -> Tensor:
    """A norm's output after its activation, in place. of: the activation's kind, "" for none."""
    return FORWARD[of.removeprefix(SIGNED)][True](z) if of else z


def slices(x: Tensor) -> list[slice]:
    """How a map (N, ...) is cut along the batch."""
    size, n = x.nbytes, x.shape[0]  # len(x) would take ten times as long
    if size <= remade.SLICE_BYTES:
        return [slice(0, n)]
    step = remade.images_at_once(n, size // n)
    return [slice(i, i + step) for i in range(0, n, step)]


class Norm(NamedTuple):
    """What of a norm's module its backward pass reads, beside tensors. of: the activation's kind."""

    of: str
    batch: bool  # the batch's statistics
    eps: float
    groups: int = 0  # of a group norm; 0 of a batch norm


def scaled(y: Tensor, gate: Tensor, apart: bool) -> Tensor:
    """y times a gate, in y's memory unless both are wanted."""
    return y * gate if apart else y.mul_(gate)


def wide(t: Tensor) -> Tensor:
    """A tensor in at least 32 bits, in which kernels compute with parameters of 16, too."""
    return t.float() if t.element_size() < 4 else t


class Maker:
    """Makes slices of a norm's result again. roots: the norm's input, and as of Remade."""

    def __init__(self, norm: Norm, roots: Sequence[Tensor]) -> None:
        self.norm = norm
        self.x, self.weight, self.bias, self.mean, self.spread = roots[:5]
        self.gate = roots[5] if len(roots) > 5 else None
        self.vectors: tuple[Tensor, ...] = ()
        if self.norm.batch:
            self.mean, self.spread = wide(self.mean), wide(self.spread)

    @property
    def at_once(self) -> bool:
        """Whether the stock kernel makes all gradients in one call."""
        return self.x.nbytes <= remade.AT_ONCE_BYTES and len(slices(self.x)) == 1

    def prepared(self) -> tuple[Tensor, ...]:
        """Scale, shift and variance with which the norm's kernel makes its output again.

        It computes weight / sqrt(1 + 0), so that its own arithmetic makes its scale and shift of these.
        """
        if not self.vectors:
            self.vectors = self.spread * self.weight, wide(self.bias), torch.ones_like(self.spread)
        return self.vectors

    def z(self, part: slice) -> Tensor:
        """The norm's output, in a slice of the batch."""
        x = cut(self.x, part)
        if self.norm.batch:
            scale, shift, one = self.prepared()
            return aten.native_batch_norm(x, scale, shift, self.mean, one, False, 0.0, 0.0)[0]
        given = (self.weight, self.bias, self.mean, self.spread)
        return aten.native_batch_norm(x, *given, False, 0.0, self.norm.eps)[0]

    def zy(self, part: slice, both: bool) -> tuple[Tensor | None, Tensor]:
        """The norm's output and the activation's, in a slice. both: whether the norm's is wanted, too."""
        z, of = self.z(part), self.norm.of
        return (z, FORWARD[of][False](z)) if both and READS_INPUT.get(of) else (None, activated_(of, z))

    def no_sums(self) -> tuple[Tensor, Tensor]:
        """Gradients of scale and shift to which slices are added."""
        like = wide(self.weight)
        return torch.zeros_like(like), torch.zeros_like(like)

    def add_sums(self, gz: Tensor, part: slice, sums: tuple[Tensor, Tensor]) -> None:
        """Add a slice's gradients of scale and shift to those before. gz: the gradient of the norm's output."""
        for total, one in zip(sums, self.stock(gz, cut(self.x, part), [False, True, True])[1:]):
            total.add_(one)

    def stock(self, gz: Tensor, x: Tensor, mask: list[bool]) -> tuple[Tensor, ...]:
        """Gradients of input, scale and shift by the stock kernel; mask: which are wanted."""
        stored = (None, None) if self.norm.batch else (self.mean, self.spread)
        kept = (self.mean, self.spread) if self.norm.batch else (None, None)
        weight = wide(self.weight) if self.norm.batch else self.weight
        return aten.native_batch_norm_backward(gz, x, weight, *stored, *kept, self.norm.batch, self.norm.eps, mask)

    def gradient_(self, gz: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The gradient of the norm's input, written over that of its output. scale, shift: their gradients."""
        if not self.norm.batch:
            zero = torch.zeros_like(self.weight)
            given = (self.weight, zero, zero, self.spread)
            none = self.weight.new_empty(0)
            aten.native_batch_norm.out(gz, *given, False, 0.0, self.norm.eps, out=gz, save_mean=none, save_invstd=none)
            return gz
        if gz.element_size() < 4:  # in place, each of two steps would round
            self.vectors = ()
            return self.stock(gz, self.x, [True, False, False])[0]
        n = self.x.numel() // self.x.shape[1]
        own, _, one = self.prepared()
        k = (own * self.spread).mul_(scale).mul_(-1 / n)
        c = (own * shift).mul_(-1 / n).addcmul_(k, self.mean, value=-1)
        zero, none = torch.zeros_like(c), gz.new_empty(0)
        k = k[:, None, None]
        for part in slices(gz):
            g, x = cut(gz, part), cut(self.x, part)
            given = (own, c, zero, one)
            aten.native_batch_norm.out(g, *given, False, 0.0, 0.0, out=g, save_mean=none, save_invstd=none)
            g.addcmul_(x, k)
        return gz


class GroupMaker(Maker):
    """Makes slices of a group norm's result again, statistics and all: they are those of single images."""

    @property
    def at_once(self) -> bool:
        return False

    def z(self, part: slice) -> Tensor:
        return group_norm(cut(self.x, part), self.weight, self.bias, self.norm)[0]

    def add_sums(self, gz: Tensor, part: slice, sums: tuple[Tensor, Tensor]) -> None:
        """Add a slice's gradients of scale and shift; that of the norm's input is written over that of its output."""
        x = regular(cut(self.x, part))
        g = gz.contiguous(memory_format=format_of(x))  # the kernel takes it to lie as the input does
        given = (g, x, cut(self.mean, part), cut(self.spread, part), self.weight)
        # Without a gradient of the input torch's kernel of channels_last ends the process (seen with 2.13).
        made, *found = aten.native_group_norm_backward(*given, *sizes_of(x), self.norm.groups, [True, True, True])
        gz.copy_(made)
        for total, one in zip(sums, found):
            total.add_(one)

    def gradient_(self, gz: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """What is there: `add_sums` has written it."""
        return gz


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, norm: Norm) -> tuple[Tensor, Tensor, Tensor]:
    """The result of a group norm, mean and deviation's reciprocal, by the kernel that torch.nn.GroupNorm calls."""
    return aten.native_group_norm(regular(x), weight, bias, *sizes_of(x), norm.groups, norm.eps)


def sizes_of(x: Tensor) -> tuple[int, int, int]:
    """Images, channels, and pixels of a channel."""
    return len(x), x.shape[1], prod(x.shape[2:])


def regular(x: Tensor) -> Tensor:
    """The tensor as kernels of group norms take it: contiguous, or channels_last."""
    return x.contiguous(memory_format=format_of(x))


class Keeper:
    """In place of a Maker, gives slices of a map that is kept. roots: the map, and perhaps a gate."""

    def __init__(self, roots: Sequence[Tensor]) -> None:
        self.x = roots[0]
        self.gate = roots[1] if len(roots) > 1 else None

    def zy(self, part: slice, both: bool) -> tuple[None, Tensor]:
        """None, and a slice of the map, which is not to be written into."""
        return None, cut(self.x, part)


class Adder:
    """Makes slices of a sum again: what is itself a sum first, so that at most two slices are there at once."""

    def __init__(self, makers: Sequence[Maker | Keeper | Adder]) -> None:
        self.makers = sorted(makers, key=lambda maker: not isinstance(maker, Adder))
        self.x: Tensor = self.makers[0].x
        self.gate = None

    def zy(self, part: slice, both: bool) -> tuple[None, Tensor]:
        """None, and a slice of the sum."""
        one, other = (whole(maker, part) for maker in self.makers)
        return None, other.add_(one) if isinstance(self.makers[0], Keeper) else one.add_(other)


def whole(maker: Maker | Keeper | Adder, part: slice) -> Tensor:
    """A slice of what a recipe makes, its gate included; a new tensor unless the map is kept and has no gate."""
    _, y = maker.zy(part, False)
    return y if maker.gate is None else scaled(y, cut(maker.gate, part), isinstance(maker, Keeper))


def cut(x: Tensor, part: slice) -> Tensor:
    """A slice of the batch; the tensor itself if that is all of it."""
    n = x.shape[0]
    return x if part.start == 0 and (part.stop or n) >= n else x[part]


def derived(maker: Maker, g: Tensor, part: slice, out: Tensor | None) -> Tensor:
    """A slice of the gradient of a norm's output, which goes into `out`. g: the gradient of the activation's."""
    of, read = maker.norm.of, None
    if of:
        read = maker.z(part) if READS_INPUT[of] else activated_(of, maker.z(part))
    return BACKWARD[of](g, read, torch.empty_like(g) if out is None else out)
