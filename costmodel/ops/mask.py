"""Masks, which are tensors of true and false: comparisons, logic, and what selects by a mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Op, Scratch, Work, check, op, shared_fields
from ..sizes.size import Shape, broadcast, numel, require
from ..targets.memory_order import MemoryOrder, contiguous, dense
from ..targets.setting import Setting
from .arithmetic import reduction, summed

MASK = 8  # bits of true or false


class MakesMask(Op):
    """An elementwise function whose output is a mask. No gradient goes through it."""

    differentiable = False
    bits = MASK
    broadcasts = True
    in_16_bits = True

    def shape(self, a: Shape, *more: Shape) -> Shape:
        return broadcast(a, *more) if more else a

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {}

    def work(self, y: Shape, *xs: Shape) -> dict[str, Work]:
        return {"forward": Work(0, numel(y))}


RELATIONS = ("gt", "ge", "lt", "le", "eq", "ne")


@shared_fields
class Comparison(MakesMask):
    """Compares each element; relation: torch's name of it."""

    relation: str

    def __post_init__(self) -> None:
        check(self.relation in RELATIONS, f"relation is {self.relation!r}; allowed: {', '.join(RELATIONS)}")


@op("compare")
class Compare(Comparison):
    """a > b, or another relation, of two tensors that broadcast."""

    inputs = ("a", "b")

    def module(self, library: Any) -> Callable:
        return getattr(library.torch, self.relation)


@op("compare_number")
class CompareNumber(Comparison):
    """x > number, or another relation."""

    relation: str
    number: float

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(setting.scalar)

    def module(self, library: Any) -> Callable:
        return lambda x: getattr(library.torch, self.relation)(x, self.number)


@op("combine_masks")
class CombineMasks(MakesMask):
    """a & b, or another function of two masks that broadcast: and, or, xor."""

    how: str

    inputs = ("a", "b")
    input_bits = {"a": MASK, "b": MASK}

    def __post_init__(self) -> None:
        check(self.how in ("and", "or", "xor"), f"how is {self.how!r}; allowed: and, or, xor")

    def module(self, library: Any) -> Callable:
        return getattr(library.torch, f"logical_{self.how}")


@op("not_mask")
class NotMask(MakesMask):
    """The opposite of a mask."""

    input_bits = {"x": MASK}

    def module(self, library: Any) -> Callable:
        return library.torch.logical_not


@op("mask_as_numbers")
class MaskAsNumbers(MakesMask):
    """A mask as zeros and ones of the network's data type."""

    input_bits = {"x": MASK}
    bits = 0

    def module(self, library: Any) -> Callable:
        return lambda x: x.float()


class Masked(Op):
    """An elementwise function of x by a mask that broadcasts, which its gradient reads."""

    inplace: bool

    in_16_bits = True
    inputs = ("x", "mask")
    shape_only = ("mask",)
    input_bits = {"mask": MASK}
    broadcasts = True

    def shape(self, x: Shape, mask: Shape) -> Shape:
        y = broadcast(x, mask)
        if self.inplace:
            require(len(y) == len(x) and numel(y) == numel(x), "in place, {} cannot take the shape {}", x, y)
        return y

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("mask",)}

    def work(self, y: Shape, x: Shape, mask: Shape) -> dict[str, Work]:
        n = numel(y)
        return {"forward": Work(0, n), "x": Work(0, n + reduction(y, x).elementwise)}


@op("mul_mask")
class MulMask(Masked):
    """x * mask: zero where the mask is false."""

    inplace: bool = False

    def scratch(self, setting: Setting, y: Shape, x: Shape, mask: Shape) -> Scratch:
        converted = setting.item * numel(mask) if setting.kernels else 0
        return Scratch(converted, summed(setting, y, {"x": x}, converted))

    def module(self, library: Any) -> Callable:
        return library.torch.Tensor.mul_ if self.inplace else library.torch.mul


@op("masked_fill")
class MaskedFill(Masked):
    """x.masked_fill(mask, number): the number where the mask is true, and x elsewhere."""

    number: float = 0.0
    inplace: bool = False

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return super().layout(axes, *xs) if self.inplace else contiguous(axes)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def scratch(self, setting: Setting, y: Shape, x: Shape, mask: Shape) -> Scratch:
        return Scratch(backward=summed(setting, y, {"x": x}))

    def module(self, library: Any) -> Callable:
        function = library.torch.Tensor.masked_fill_ if self.inplace else library.torch.masked_fill
        return lambda x, mask: function(x, mask, self.number)


class _OfOneFormat(Op):
    """An op that is modelled where its tensors lie in memory as the network's do."""

    def modelled(self, setting: Setting, y: Shape, *xs: Shape) -> Any:
        return super().modelled(setting, y, *xs) and not setting.layouts


@op("where")
class Where(_OfOneFormat):
    """torch.where(mask, a, b): a where the mask is true, b elsewhere. All broadcast."""

    in_16_bits = True
    inputs = ("mask", "a", "b")
    shape_only = ("mask",)
    input_bits = {"mask": MASK}
    broadcasts = True

    def shape(self, mask: Shape, a: Shape, b: Shape) -> Shape:
        return broadcast(mask, broadcast(a, b))

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("mask",), "b": ("mask",)}

    def work(self, y: Shape, mask: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        n = numel(y)
        return {"forward": Work(0, n), **{k: Work(0, n + reduction(y, x).elementwise) for k, x in (("a", a), ("b", b))}}

    def scratch(self, setting: Setting, y: Shape, mask: Shape, a: Shape, b: Shape) -> Scratch:
        # where(mask, g, 0): the number is a tensor.
        return Scratch(backward=summed(setting, y, {"a": a, "b": b}, setting.item))

    def module(self, library: Any) -> Callable:
        return library.torch.where


@op("where_number")
class WhereNumber(_OfOneFormat, Masked):
    """torch.where(mask, x, number): x where the mask is true, the number elsewhere; with `otherwise` the reverse."""

    number: float = 0.0
    otherwise: bool = False

    inplace = False

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return dense(xs[-1])  # torch's first operand is the mask

    def scratch(self, setting: Setting, y: Shape, x: Shape, mask: Shape) -> Scratch:
        return Scratch(setting.item, summed(setting, y, {"x": x}, setting.item))

    def module(self, library: Any) -> Callable:
        select = library.torch.where
        return lambda x, mask: select(mask, self.number, x) if self.otherwise else select(mask, x, self.number)


_MAP, _PLACE, _CHANNELS = (2, 8, 5, 3), (2, 1, 5, 3), (8, 1, 1)
Compare.examples = ((Compare("gt"), _MAP, _MAP), (Compare("eq"), _MAP, _CHANNELS))
CompareNumber.examples = ((CompareNumber("gt", 0.0), _MAP),)
CombineMasks.examples = ((CombineMasks("and"), _MAP, _MAP), (CombineMasks("or"), _MAP, _PLACE))
NotMask.examples = ((NotMask(), _MAP),)
MaskAsNumbers.examples = ((MaskAsNumbers(), _MAP),)
MulMask.examples = ((MulMask(), _MAP, _MAP), (MulMask(), _MAP, _PLACE), (MulMask(), _CHANNELS, _MAP),
                    (MulMask(inplace=True), _MAP, _PLACE))  # fmt: skip
MaskedFill.examples = ((MaskedFill(-1.0), _MAP, _MAP), (MaskedFill(), _MAP, _PLACE), (MaskedFill(), _CHANNELS, _MAP),
                       (MaskedFill(inplace=True), _MAP, _PLACE))  # fmt: skip
Where.examples = ((Where(), _MAP, _MAP, _MAP), (Where(), _MAP, _CHANNELS, _PLACE), (Where(), _PLACE, _MAP, _MAP))
WhereNumber.examples = ((WhereNumber(), _MAP, _MAP), (WhereNumber(2.0, True), _MAP, _PLACE),
                        (WhereNumber(), _CHANNELS, _MAP))  # fmt: skip
