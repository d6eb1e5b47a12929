"""What autocast makes of a network's layers: casts, and ops whose parameters are casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Extra, Op, Scratch, Work, shared_fields
from ..sizes.dtype import DTYPES
from ..sizes.size import Shape, Size, numel
from ..targets.memory_order import MemoryOrder, dense
from ..targets.setting import Setting
from .layout import Rewritten


@shared_fields
class Cast(Rewritten):
    """x.to(another data type). Its gradient is the output's, cast back: a new tensor too."""

    to: str

    kind = "cast"

    @property
    def bits(self) -> int:
        """Bits per element of the output."""
        return DTYPES[self.to].bits

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return dense(xs[0])

    def module(self, library: Any) -> Callable:
        return lambda x: x.to(getattr(library.torch, self.to))


@shared_fields
class Given(Op):
    """A layer whose parameters are inputs, since they are casts of the network's own: all else is as the layer says."""

    of: Op

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.of.inputs, *self.of.params())

    @property
    def given(self) -> tuple[str, ...]:
        """The inputs that stand for parameters."""
        return tuple(self.of.params())

    def _own(self, xs: tuple[Any, ...]) -> tuple[Any, ...]:
        """What belongs to the layer's own inputs."""
        return xs[: len(self.of.inputs)]

    def _setting(self, setting: Setting) -> Setting:
        return setting._replace(layouts=self._own(setting.layouts))

    def shape(self, *xs: Shape) -> Shape:
        return self.of.shape(*self._own(xs))

    def extras(self, *xs: Shape) -> dict[str, Extra]:
        return self.of.extras(*self._own(xs))

    def work(self, y: Shape, *xs: Shape) -> dict[str, Work]:
        return self.of.work(y, *self._own(xs))

    def scratch(self, setting: Setting, y: Shape, *xs: Shape) -> Scratch:
        return self.of.scratch(self._setting(setting), y, *self._own(xs))

    def modelled(self, setting: Setting, y: Shape, *xs: Shape) -> Any:
        return self.of.modelled(self._setting(setting), y, *self._own(xs))

    def bounded(self, setting: Setting, y: Shape, *xs: Shape) -> Any:
        return self.of.bounded(self._setting(setting), y, *self._own(xs))

    def recast(self, setting: Setting) -> tuple[str, ...]:
        return self.of.recast(self._setting(setting))

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return self.of.layout(axes, *self._own(xs))


def casts_of(layer: Op, setting: Setting, bias: bool = True) -> Size:
    """Bytes of the casts of a layer's weight, and bias, that its lean form makes itself under autocast."""
    several = sum(numel(shape) for name, shape in layer.params().items() if name == "weight" or bias)
    return setting.item * several if setting.casts_parameters else 0


def layer_of(op: Op) -> Op:
    """The op itself, or the layer whose parameters are given to it."""
    return op.of if isinstance(op, Given) else op


def _layers_own(name: str) -> property:
    return property(lambda self: getattr(self.of, name))


for _name in ("kind", "needs", "torch_needs", "stock", "casts", "saves_late", "gradient_layout", "copies_gradient",
              "follows_weight", "reads_channels_last", "parameter_gradient_views", "in_16_bits", "of_cpus",
              "grid", "timed_as"):  # fmt: skip
    setattr(Given, _name, _layers_own(_name))
