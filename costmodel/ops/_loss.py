"""What losses share: ops that turn a network's result and targets into the number that training makes small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..graph.op import Casts, Op, check, shared_fields
from ..sizes.size import Shape
from ..targets.setting import Setting

MEAN, SUM, NONE = "mean", "sum", "none"


class Loss(Op):
    """A loss of a result x and targets. Its text is the name and the options that are not usual."""

    inputs = ("x", "targets")
    of: ClassVar[str]  # what the targets are: see ops/given.py
    options: ClassVar[tuple[str, ...]] = ()  # the fields that a request may give, numbers
    casts = Casts.FULL

    def __str__(self) -> str:
        usual = {name: self.__dataclass_fields__[name].default for name in self.options}
        given = [f",{name}={getattr(self, name)}" for name in usual if getattr(self, name) != usual[name]]
        return self.kind + "".join(given)

    def module(self, library: Any) -> Callable:
        return lambda x, targets, *more: self.call(library.torch.nn.functional, x, targets, *more)

    def call(self, functions: Any, x: Any, targets: Any, *more: Any) -> Any:
        """The loss of tensors. functions: torch.nn.functional. more: the inputs after the targets."""
        raise NotImplementedError


@shared_fields
class Reduced(Loss):
    """A loss whose numbers are reduced: to their "mean" or "sum", -> (), or left as they are, "none"."""

    reduction: str = MEAN

    def __post_init__(self) -> None:
        check(self.reduction in (MEAN, SUM, NONE), f"reduction is {self.reduction!r}; allowed: {MEAN}, {SUM}, {NONE}")

    def reduced(self, whole: Shape) -> Shape:
        """The output's shape, if the loss has numbers of this shape before they are reduced."""
        return whole if self.reduction == NONE else ()


def lies_otherwise(setting: Setting, x: Shape) -> bool:
    """Whether a loss may get a result whose numbers do not lie as its targets do."""
    return bool(setting.layouts) or setting.target.channels_last and len(x) == 4
