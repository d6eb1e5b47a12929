"""Losses that compare each number of a result with one of the targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graph.op import Scratch, Work, op, shared_fields
from ..sizes.size import Shape, maximum, numel, require, same
from ..targets.memory_order import MemoryOrder, contiguous, dense
from ..targets.setting import Setting
from ._loss import MEAN, NONE, SUM, Reduced, lies_otherwise
from .given import VALUES


class OfValues(Reduced):
    """A loss that one kernel makes of x and targets of its shape, through a tensor of that shape, which is reduced."""

    of = VALUES
    beside = 1, 0  # tensors of that shape that are alive at once beside the output: reduced, and as they are
    cut_down = False  # the kernel makes the output of that tensor, and leaves its storage

    def shape(self, x: Shape, targets: Shape, *more: Shape) -> Shape:
        said = f"{self.kind} takes targets of the result's shape {{}}, the targets are {{}}"
        require(same(targets, x), said, x, targets)
        return self.reduced(x)

    def needs(self) -> Mapping[str, tuple[str, ...]]:
        return {"x": ("x", "targets"), "targets": ("x", "targets")}

    @property
    def resizes(self) -> bool:
        return self.cut_down and self.reduction != NONE

    def storage(self, y: Shape, x: Shape, targets: Shape, *more: Shape) -> Shape:
        return x if self.resizes else y

    def modelled(self, setting: Setting, y: Shape, x: Shape, targets: Shape, *more: Shape) -> Any:
        return super().modelled(setting, y, x, targets, *more) and not lies_otherwise(setting, x)

    def scratch(self, setting: Setting, y: Shape, x: Shape, targets: Shape, *more: Shape) -> Scratch:
        if not setting.kernels:
            return Scratch()
        number = setting.python_number if self.reduction == MEAN else 0  # by which the sum is divided
        number = maximum(number, setting.shared_sum(x)) if self.reduction != NONE else 0
        return Scratch(self.beside[self.reduction == NONE] * setting.item * numel(x) + number)


@op("mse")
class MeanSquaredError(OfValues):
    """torch.nn.functional.mse_loss: the squared differences of two tensors of equal shapes."""

    cut_down = True

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return contiguous(len(x.order))

    def work(self, y: Shape, x: Shape, targets: Shape) -> dict[str, Work]:
        n = numel(x)  # subtract, square, add; backward: subtract, scale
        return {"forward": Work(0, 3 * n), "x": Work(0, 2 * n), "targets": Work(0, 2 * n)}

    def call(self, functions: Any, x: Any, targets: Any, *more: Any) -> Any:
        return functions.mse_loss(x, targets, reduction=self.reduction)


@op("smooth_l1")
class SmoothL1(MeanSquaredError):
    """torch.nn.functional.smooth_l1_loss: squares of small differences and lengths of large ones."""

    def call(self, functions: Any, x: Any, targets: Any, *more: Any) -> Any:
        return functions.smooth_l1_loss(x, targets, reduction=self.reduction)


@op("huber")
class Huber(MeanSquaredError):
    """torch.nn.functional.huber_loss: as smooth_l1, scaled."""

    cut_down = False

    def call(self, functions: Any, x: Any, targets: Any, *more: Any) -> Any:
        return functions.huber_loss(x, targets, reduction=self.reduction)


@shared_fields
class OfProbabilities(OfValues):
    """A binary cross-entropy of x and targets of equal shapes. weighted: by a factor of each number, a third input."""

    weighted: bool = False

    shape_only = ("weight", "pos_weight")
    input_bits = {"weight": 0, "pos_weight": 0}

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return dense(x)

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("x", "targets", "weight") if self.weighted else ("x", "targets")

    def needs(self) -> Mapping[str, tuple[str, ...]]:
        return {"x": self.inputs, "targets": ("x", *self.inputs[2:])}

    def torch_needs(self) -> Mapping[str, tuple[str, ...]]:
        return {"x": self.inputs, "targets": self.inputs}

    def scratch(self, setting: Setting, y: Shape, x: Shape, targets: Shape, *more: Shape) -> Scratch:
        divisor = setting.python_number if setting.kernels and self.reduction == MEAN else 0
        return super().scratch(setting, y, x, targets)._replace(backward=divisor)


@op("bce")
class BinaryCrossEntropy(OfProbabilities):
    """torch.nn.functional.binary_cross_entropy_with_logits.

    weighted, pos_weighted: by a factor of each number, and of its positive part: further inputs, which broadcast.
    """

    pos_weighted: bool = False

    beside = 2, 1

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*super().inputs, "pos_weight") if self.pos_weighted else super().inputs

    def modelled(self, setting: Setting, y: Shape, x: Shape, targets: Shape, *more: Shape) -> Any:
        plain = "targets" not in setting.demanded and not more
        return super().modelled(setting, y, x, targets, *more) and plain

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return dense(xs[1]) if self.reduction == NONE and len(xs) > 1 else contiguous(axes)  # of 1 - targets

    def work(self, y: Shape, x: Shape, targets: Shape, *more: Shape) -> dict[str, Work]:
        n = numel(x)  # (1 - t) x - log_sigmoid(x): subtract, multiply, min, abs, exp, log1p, subtract, subtract, add
        return {"forward": Work(0, 9 * n), "x": Work(0, 4 * n), "targets": Work(0, 2 * n)}

    def call(self, functions: Any, x: Any, targets: Any, *more: Any) -> Any:
        named = dict(zip(self.inputs[2:], more))
        return functions.binary_cross_entropy_with_logits(x, targets, reduction=self.reduction, **named)


@op("binary_cross_entropy")
class OfOneProbability(OfProbabilities):
    """torch.nn.functional.binary_cross_entropy of probabilities."""

    beside = 0, 0
    cut_down = True

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes) if self.reduction != NONE else dense(xs[0])

    def scratch(self, setting: Setting, y: Shape, x: Shape, targets: Shape, *weight: Shape) -> Scratch:
        found = super().scratch(setting, y, x, targets, *weight)
        reduced = setting.item if self.resizes and setting.kernels else 0  # which is copied into what it is made of
        return found._replace(forward=found.forward + reduced)

    def work(self, y: Shape, x: Shape, targets: Shape, *more: Shape) -> dict[str, Work]:
        n = numel(x)  # (t - 1) log1p(-x) - t log(x): six, and the sum; backward: (x - t) / ((1 - x) x)
        return {"forward": Work(0, 7 * n), "x": Work(0, 5 * n), "targets": Work(0, 3 * n)}

    def call(self, functions: Any, x: Any, targets: Any, *weight: Any) -> Any:
        return functions.binary_cross_entropy(x, targets, *weight, reduction=self.reduction)


REDUCTIONS = (MEAN, SUM, NONE)
SIZES = (((3, 10), (3, 10)), ((2, 3, 5, 4), (2, 3, 5, 4)))
for _loss in (MeanSquaredError, SmoothL1, Huber, BinaryCrossEntropy, OfOneProbability):
    _loss.examples = tuple((_loss(way), *sizes) for way in REDUCTIONS for sizes in SIZES)
