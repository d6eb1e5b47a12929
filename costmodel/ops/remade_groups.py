"""Forms of group norms, and of what reads them, that keep the norm's input alone: see remade.py and remade_joins.py.

The statistics are those of single images, so that each slice of the batch goes through the norm's backward pass alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Scratch, op
from ..sizes.size import Shape, Size, maximum
from ..targets.memory_order import MemoryOrder, dense
from ..targets.setting import SUM_BYTES, Setting
from .norm import GroupNorm, with_statistics
from .remade import Remade, RemakingConv2d, Unit, over_slices
from .remade_joins import RemakingMul

#: Operations per element that make a group norm's output again, with its statistics.
AGAIN = with_statistics(1)["forward"].elementwise


class GroupUnit(Unit):
    """Bytes of what the functions of one group norm and its activation make, slice by slice."""

    adds_sums = 1

    def __init__(self, setting: Setting, norm: GroupNorm, of: str, x: Shape) -> None:
        super().__init__(setting, norm.channels, False, of, x)
        self.norm = norm

    def making(self, images: Size) -> Size:
        return self._kernels(images, recorded=False).forward  # with the slice's statistics

    def sums(self, images: Size) -> Size:
        """With a slice of the gradient of the norm's input."""
        parameters = 2 * self.setting.parameter_item * self.channels
        return self.map(images) + parameters + self._kernels(images, recorded=True).backward

    def _kernels(self, images: Size, recorded: bool) -> Scratch:
        part = (images, *self.x[1:])
        return self.norm.scratch(self.setting._replace(gradient=None, recorded=recorded), part, part)


@op("remade_group_norm")
class RemadeGroupNorm(Remade, GroupNorm):
    """A group norm, with the activation after it, that keeps its input alone; Remade has its fields."""

    again = AGAIN

    def needs(self) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(("x", "weight", "bias"), ("x", "mean", "rstd", "weight"))

    torch_needs = needs

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return dense(gradient) if self.passes else dense(x)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return setting.item >= SUM_BYTES and super().modelled(setting, y, x) and setting.is_regular(x)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        forward = GroupNorm.scratch(self, setting, y, x).forward
        unit = GroupUnit(setting, self.stock_norm, self.of, x)
        of_parameters = 0 if unit.narrow else ("weight" in setting.demanded) + ("bias" in setting.demanded)
        sums = unit.vector * (2 - of_parameters)  # those that are no gradients of parameters themselves
        if self.finished:
            return Scratch(forward, sums)

        def one(images: Size) -> Size:
            own = 0 if self.owns or "x" in setting.demanded else unit.map(images)  # a gradient that nobody wants
            made = unit.map(images) + unit.making(images) if self.of else 0
            # What overwrites the incoming gradient reads a copy of it if it does not lie as x does.
            copied = setting.copy_of_gradient((images, *y[1:])) if self.owns and setting.takes_gradient_whole() else 0
            return sums + maximum(made, own + maximum(unit.derivative(images), copied + unit.sums(images)))

        return Scratch(forward, maximum(over_slices(setting, x, one, one) - unit.later, sums))

    @property
    def stock_norm(self) -> GroupNorm:
        """The norm that is made again."""
        return GroupNorm(self.groups, self.channels)

    def module(self, library: Any) -> Callable:
        how = {"of": self.of, "owns_gradient": self.owns}
        return library.lean.RemadeGroupNorm(self.groups, self.channels, self.eps, **how)


@op("remaking_conv2d_of_groups")
class RemakingConv2dOfGroups(RemakingConv2d):
    """A convolution that keeps what its input is made again from, by a group norm. norm_groups: the norm's groups."""

    norm_groups: int = 1

    again = AGAIN

    def unit(self, setting: Setting, x: Shape) -> Unit:
        return GroupUnit(setting, GroupNorm(self.norm_groups, self.in_channels), self.of, x)


@op("remaking_mul_of_groups")
class RemakingMulOfGroups(RemakingMul):
    """The product of a gate and a map that a group norm makes again. norm_groups: the norm's groups."""

    norm_groups: int = 1

    again = AGAIN

    def unit(self, setting: Setting, y: Shape) -> Unit:
        return GroupUnit(setting, GroupNorm(self.norm_groups, y[1]), self.of, y)


RemadeGroupNorm.examples = (
    (RemadeGroupNorm(2, 8), (2, 8, 5, 3)),
    (RemadeGroupNorm(4, 8, of="hardswish"), (3, 8, 5, 3)),
    (RemadeGroupNorm(2, 8, of="relu6"), (2, 8, 7)),
)
