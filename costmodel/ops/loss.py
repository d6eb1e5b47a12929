"""Losses: ops that turn the network's result and targets into the number that training makes small."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any, ClassVar, NamedTuple

from ..errors import CostmodelError, unknown
from ..graph.op import Casts, Extra, Op, Scratch, Work, check, op
from ..sizes.size import Shape, maximum, numel, require, same
from ..targets.memory_order import MemoryOrder, dense
from ..targets.setting import Setting
from .given import CLASSES, VALUES

COUNT_BYTES = 8  # of a number of targets, an int64


class Loss(Op):
    """A loss of a result x and targets, averaged: -> (). Its text is the name and the fields that are not usual."""

    inputs = ("x", "targets")
    of: ClassVar[str]  # what the targets are: see ops/given.py
    casts = Casts.FULL

    def __str__(self) -> str:
        usual = {name: self.__dataclass_fields__[name].default for name in self.__match_args__}
        given = [f",{name}={getattr(self, name)}" for name in usual if getattr(self, name) != usual[name]]
        return self.kind + "".join(given)

    def module(self, library: Any) -> Callable:
        return lambda x, targets: self.call(library.torch.nn.functional, x, targets)

    def call(self, functions: Any, x: Any, targets: Any) -> Any:
        """The loss of tensors. functions: torch.nn.functional."""
        raise NotImplementedError


@op("cross_entropy")
class CrossEntropy(Loss):
    """torch.nn.functional.cross_entropy of logits (N, classes, ...) with the class of each example or pixel, int64.

    label_smoothing: the share of each target that is spread over all classes.
    """

    label_smoothing: float = 0.0
    of = CLASSES
    shape_only = ("targets",)

    def __post_init__(self) -> None:
        found = self.label_smoothing
        check(0 <= found <= 1, f"label_smoothing is {found!r}; allowed: a number from 0 to 1")

    def shape(self, x: Shape, targets: Shape) -> Shape:
        require(len(x) >= 2, "cross_entropy takes (N, classes, ...), the input is {}", x)
        fits = same(targets, (x[0], *x[2:]))
        require(fits, "cross_entropy takes a class for each example or pixel of {}, the targets are {}", x, targets)
        return ()

    def needs(self) -> dict[str, tuple[str, ...]]:
        # dx = (exp(log_probabilities) - onehot(targets)) / N
        return {"x": ("log_probabilities", "targets")}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        # log_softmax keeps its result. nll_loss keeps the same storage, the targets, and the weight it divided by.
        # With smoothing the sum over classes is zero where a target is ignored, and divided by the number of others.
        smoothed = ("ignored", "not_ignored") if self.label_smoothing else ()
        return {"x": ("log_probabilities", "targets", "total_weight", *smoothed)}

    def saves_late(self, operands: Set[str]) -> bool:
        return not self.label_smoothing and super().saves_late(operands)  # the mean over targets saves last

    def extras(self, x: Shape, targets: Shape) -> dict[str, Extra]:
        found = {"log_probabilities": Extra(x), "total_weight": Extra(())}
        return found | (
            {"ignored": Extra(targets, 8), "not_ignored": Extra((), 8 * COUNT_BYTES)} if self.label_smoothing else {}
        )

    def work(self, y: Shape, x: Shape, targets: Shape) -> dict[str, Work]:
        # log_softmax: max, subtract, exp, sum, subtract; smoothing: sum. Backward: exp, subtract, scale; add.
        n, more = numel(x), bool(self.label_smoothing)
        return {"forward": Work(0, (5 + more) * n), "x": Work(0, (3 + more) * n)}

    def scratch(self, setting: Setting, y: Shape, x: Shape, targets: Shape) -> Scratch:
        # The gradients of nll_loss and log_softmax are alive at once; the total weight was freed after the first.
        backward, item = setting.item * (numel(x) - 1), setting.item
        kept = 0 if setting.demanded else item * (numel(x) + 1)  # what is kept for the gradient is made without one too
        if not self.label_smoothing:
            return Scratch(kept, maximum(backward, 0))
        n = numel(targets)  # sums over classes, and bytes of each mask
        # At the negative sums; where the masks and what is divided are alive; at the sum of both terms.
        forward = maximum(maximum(item * n - n - COUNT_BYTES, n + 2 * item), 4 * item)
        if setting.kernels:  # a mask is summed as int64, and numbers multiply both terms
            forward = maximum(maximum(forward, (1 + COUNT_BYTES) * n), 3 * item + setting.python_number)
        kept = kept + (0 if setting.demanded else n + COUNT_BYTES)
        return Scratch(item * n + forward + kept, maximum(backward + item * n - n - COUNT_BYTES, 0))

    def call(self, functions: Any, x: Any, targets: Any) -> Any:
        return functions.cross_entropy(x, targets, label_smoothing=self.label_smoothing)


@op("nll")
class NegativeLogLikelihood(Loss):
    """torch.nn.functional.nll_loss of log-probabilities (N, classes, ...) with the class of each example or pixel."""

    of = CLASSES
    shape_only = ("targets",)

    def shape(self, x: Shape, targets: Shape) -> Shape:
        return CrossEntropy().shape(x, targets)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("targets",)}  # dx = -onehot(targets) / N

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x", "targets", "total_weight")}

    def extras(self, x: Shape, targets: Shape) -> dict[str, Extra]:
        return {"total_weight": Extra(())}

    def work(self, y: Shape, x: Shape, targets: Shape) -> dict[str, Work]:
        n = numel(targets)
        return {"forward": Work(0, n), "x": Work(0, n)}

    def scratch(self, setting: Setting, y: Shape, x: Shape, targets: Shape) -> Scratch:
        return Scratch(0 if setting.demanded else setting.item)  # the total weight

    def call(self, functions: Any, x: Any, targets: Any) -> Any:
        return functions.nll_loss(x, targets)


class OfValues(Loss):
    """A loss that compares each number of the result with one of the targets."""

    of = VALUES

    def shape(self, x: Shape, targets: Shape) -> Shape:
        said = f"{self.kind} takes targets of the result's shape {{}}, the targets are {{}}"
        require(same(targets, x), said, x, targets)
        return ()

    def needs(self) -> Mapping[str, tuple[str, ...]]:
        return {"x": ("x", "targets"), "targets": ("x", "targets")}


class Averaged(OfValues):
    """A loss that one kernel makes of the result and the targets, through what is averaged: a tensor of their shape."""

    copies = 1  # such tensors that are alive at once

    def modelled(self, setting: Setting, y: Shape, x: Shape, targets: Shape) -> Any:
        mixed = bool(setting.layouts) or setting.target.channels_last and len(x) == 4
        return super().modelled(setting, y, x, targets) and not mixed

    def scratch(self, setting: Setting, y: Shape, x: Shape, targets: Shape) -> Scratch:
        return Scratch(self.copies * setting.item * numel(x) + setting.python_number if setting.kernels else 0)


@op("mse")
class MeanSquaredError(Averaged):
    """torch.nn.functional.mse_loss: the mean of the squared differences of two tensors of equal shapes."""

    resizes = True

    def storage(self, y: Shape, x: Shape, targets: Shape) -> Shape:
        return x

    def work(self, y: Shape, x: Shape, targets: Shape) -> dict[str, Work]:
        n = numel(x)  # subtract, square, add; backward: subtract, scale
        return {"forward": Work(0, 3 * n), "x": Work(0, 2 * n), "targets": Work(0, 2 * n)}

    def call(self, functions: Any, x: Any, targets: Any) -> Any:
        return functions.mse_loss(x, targets)


@op("smooth_l1")
class SmoothL1(MeanSquaredError):
    """torch.nn.functional.smooth_l1_loss: the mean of squares of small differences and lengths of large ones."""

    def call(self, functions: Any, x: Any, targets: Any) -> Any:
        return functions.smooth_l1_loss(x, targets)


@op("huber")
class Huber(SmoothL1):
    """torch.nn.functional.huber_loss: as smooth_l1, scaled."""

    resizes = False

    def storage(self, y: Shape, x: Shape, targets: Shape) -> Shape:
        return y

    def call(self, functions: Any, x: Any, targets: Any) -> Any:
        return functions.huber_loss(x, targets)


@op("bce")
class BinaryCrossEntropy(Averaged):
    """torch.nn.functional.binary_cross_entropy_with_logits: x and targets of equal shapes, averaged."""

    copies = 2

    def modelled(self, setting: Setting, y: Shape, x: Shape, targets: Shape) -> Any:
        return super().modelled(setting, y, x, targets) and "targets" not in setting.demanded

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return dense(x)

    def scratch(self, setting: Setting, y: Shape, x: Shape, targets: Shape) -> Scratch:
        number = setting.python_number if setting.kernels else 0
        return super().scratch(setting, y, x, targets)._replace(backward=number)

    def needs(self) -> Mapping[str, tuple[str, ...]]:
        return {"x": ("x", "targets"), "targets": ("x",)}

    def torch_needs(self) -> Mapping[str, tuple[str, ...]]:
        return {"x": ("x", "targets"), "targets": ("x", "targets")}

    def work(self, y: Shape, x: Shape, targets: Shape) -> dict[str, Work]:
        n = numel(x)  # (1 - t) x - log_sigmoid(x): subtract, multiply, min, abs, exp, log1p, subtract, subtract, add
        return {"forward": Work(0, 9 * n), "x": Work(0, 4 * n), "targets": Work(0, 2 * n)}

    def call(self, functions: Any, x: Any, targets: Any) -> Any:
        return functions.binary_cross_entropy_with_logits(x, targets)


class OwnLoss(NamedTuple):
    """A loss that people wrote and that was traced with the network: its name."""

    name: str

    def __str__(self) -> str:
        return self.name


USUAL_LOSS = CrossEntropy()
#: The losses that have a name in a request.
LOSSES: dict[str, type[Loss]] = {one.kind: one for one in (CrossEntropy, BinaryCrossEntropy, MeanSquaredError)}


def find_loss(text: Any) -> Loss:
    """The loss of a text: cross_entropy[,label_smoothing=E], bce or mse. Raises CostmodelError."""
    if not isinstance(text, str):
        raise unknown("loss", text, LOSSES)
    name, *options = text.split(",")
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    fields = LOSSES[name].__match_args__
    given: dict[str, float] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in fields:
            raise CostmodelError(f"loss {text!r}: {unknown(f'option of {name}', key, fields)}")
        try:
            given[key] = float(value)
        except ValueError:
            raise CostmodelError(f"loss {text!r}: {key} is {value!r}; allowed: a number") from None
    return LOSSES[name](**given)


CrossEntropy.examples = (
    (CrossEntropy(), (3, 10), (3,)),
    (CrossEntropy(), (2, 5, 4, 3), (2, 4, 3)),
    (CrossEntropy(), (2, 5, 7), (2, 7)),
    (CrossEntropy(0.1), (3, 10), (3,)),
    (CrossEntropy(0.1), (2, 5, 4, 3), (2, 4, 3)),
)
MeanSquaredError.examples = ((MeanSquaredError(), (3, 10), (3, 10)), (MeanSquaredError(), (2, 3, 5, 4), (2, 3, 5, 4)))
Huber.examples = tuple((Huber(), *shapes) for _, *shapes in MeanSquaredError.examples)
SmoothL1.examples = tuple((SmoothL1(), *shapes) for _, *shapes in MeanSquaredError.examples)
NegativeLogLikelihood.examples = tuple(
    (NegativeLogLikelihood(), *shapes) for one, *shapes in CrossEntropy.examples if not one.label_smoothing
)
BinaryCrossEntropy.examples = tuple((BinaryCrossEntropy(), *shapes) for _, *shapes in MeanSquaredError.examples)
