"""Losses of a result with the class of each example or pixel."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from ..graph.op import Extra, Scratch, Work, check, op
from ..sizes.size import Shape, maximum, numel, require, same
from ..targets.setting import COUNT_BYTES, SUM_BYTES, Setting
from ._loss import MEAN, NONE, SUM, Loss, Reduced, lies_otherwise
from .given import CLASSES


def check_classes(kind: str, x: Shape, targets: Shape) -> None:
    """Raise CostmodelError unless the targets (N, ...) are for a result (N, classes, ...)."""
    require(len(x) >= 2, f"{kind} takes (N, classes, ...), the input is {{}}", x)
    fits = same(targets, (x[0], *x[2:]))
    require(fits, f"{kind} takes a class for each example or pixel of {{}}, the targets are {{}}", x, targets)


@op("cross_entropy")
class CrossEntropy(Loss):
    """torch.nn.functional.cross_entropy of logits (N, classes, ...) with the class of each example or pixel, int64.

    label_smoothing: the share of each target that is spread over all classes.
    """

    label_smoothing: float = 0.0

    of = CLASSES
    options = ("label_smoothing",)
    shape_only = ("targets",)

    def __post_init__(self) -> None:
        found = self.label_smoothing
        check(0 <= found <= 1, f"label_smoothing is {found!r}; allowed: a number from 0 to 1")

    def shape(self, x: Shape, targets: Shape) -> Shape:
        check_classes(self.kind, x, targets)
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
            counted = (1 + COUNT_BYTES) * n + setting.shared_sum(targets, item=COUNT_BYTES)
            forward = maximum(maximum(forward, counted), 3 * item + setting.python_number)
        kept = kept + (0 if setting.demanded else n + COUNT_BYTES)
        return Scratch(item * n + forward + kept, maximum(backward + item * n - n - COUNT_BYTES, 0))

    def modelled(self, setting: Setting, y: Shape, x: Shape, targets: Shape) -> Any:
        return setting.item >= SUM_BYTES or len(x) == 2 and not self.label_smoothing

    def call(self, functions: Any, x: Any, targets: Any, *more: Any) -> Any:
        return functions.cross_entropy(x, targets, label_smoothing=self.label_smoothing)


@op("nll")
class NegativeLogLikelihood(Reduced):
    """torch.nn.functional.nll_loss of log-probabilities (N, classes, ...) with the class of each example or pixel.

    weighted: by a number for each class, a third input.
    """

    weighted: bool = False

    of = CLASSES
    shape_only = ("targets", "weight")
    input_bits = {"weight": 0}

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("x", "targets", "weight") if self.weighted else ("x", "targets")

    def shape(self, x: Shape, targets: Shape, *weight: Shape) -> Shape:
        check_classes(self.kind, x, targets)
        check(self.reduction != NONE or len(x) in (2, 4), "nll that is not reduced takes (N, classes) or maps of them")
        for one in weight:
            require(same(one, x[1:2]), "nll takes a weight for each class of {}, the weights are {}", x, one)
        return self.reduced(targets)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": self.inputs[1:]}  # dx = -onehot(targets) * weight / N

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": (*self.inputs, "total_weight")}

    def extras(self, x: Shape, targets: Shape, *weight: Shape) -> dict[str, Extra]:
        return {"total_weight": Extra(())}

    def work(self, y: Shape, x: Shape, targets: Shape, *weight: Shape) -> dict[str, Work]:
        n = numel(targets)
        return {"forward": Work(0, n), "x": Work(0, n)}

    def modelled(self, setting: Setting, y: Shape, x: Shape, targets: Shape, *weight: Shape) -> Any:
        return super().modelled(setting, y, x, targets, *weight) and not lies_otherwise(setting, x)

    def scratch(self, setting: Setting, y: Shape, x: Shape, targets: Shape, *weight: Shape) -> Scratch:
        return Scratch(0 if setting.demanded else setting.item)  # the total weight

    def call(self, functions: Any, x: Any, targets: Any, *weight: Any) -> Any:
        return functions.nll_loss(x, targets, *weight, reduction=self.reduction)


SIZES = (((3, 10), (3,)), ((2, 5, 4, 3), (2, 4, 3)), ((2, 5, 7), (2, 7)))
WAYS = ((MEAN, False), (SUM, False), (NONE, False), (MEAN, True), (NONE, True))
CrossEntropy.examples = tuple(
    (CrossEntropy(smoothing), x, t) for smoothing, some in ((0.0, SIZES), (0.1, SIZES[:2])) for x, t in some
)
NegativeLogLikelihood.examples = tuple(
    (NegativeLogLikelihood(*way), x, t, *[(x[1],)] * way[1]) for way in WAYS for x, t in SIZES[: 3 - (way[0] == NONE)]
)
