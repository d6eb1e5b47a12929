"""Losses: ops that turn the network's result and targets into the number that training makes small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Casts, Extra, Op, Scratch, Stock, Work, op
from ..sizes.size import Shape, Size, maximum, nbytes, numel, require
from ..targets.setting import Setting

TARGET_BITS = 64  # bits of a target, a class as int64


class Loss(Op):
    """A loss. Its targets come from the caller and are there before the step."""

    is_loss = True
    casts = Casts.FULL

    def targets(self, library: Any, batch: int, device: Any) -> Any:
        """A tensor of targets for a batch, on a device; library: costmodel.pytorch.library."""
        raise NotImplementedError

    def of(self, library: Any, x: Any, targets: Any) -> Any:
        """The loss of a result x, a tensor, with targets."""
        raise NotImplementedError

    def module(self, library: Any) -> Callable:
        return lambda x: self.of(library, x, self.targets(library, len(x), x.device))


@op("cross_entropy")
class CrossEntropy(Loss):
    """torch.nn.functional.cross_entropy of logits (N, classes) with int64 targets (N,), averaged: -> ()."""

    def given_bytes(self, batch: Size) -> Size:
        return nbytes(batch, TARGET_BITS)

    def shape(self, x: Shape) -> Shape:
        require(len(x) == 2, "cross_entropy takes (N, classes), the input is {}", x)
        return ()

    stock = Stock(given=("targets",))

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("log_probabilities", "targets")}  # dx = (exp(log_probabilities) - onehot(targets)) / N

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        # log_softmax keeps its result. nll_loss keeps the same storage, the targets, and the weight it divided by.
        return {"x": ("log_probabilities", "targets", "total_weight")}

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {"log_probabilities": Extra(x), "targets": Extra(x[:1], TARGET_BITS), "total_weight": Extra(())}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(x)  # log_softmax: max, subtract, exp, sum, subtract; backward: exp, subtract, scale
        return {"forward": Work(0, 5 * n), "x": Work(0, 3 * n)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # The gradients of nll_loss and log_softmax are alive at once; the total weight was freed after the first.
        return Scratch(backward=maximum(setting.item * (numel(x) - 1), 0))

    def targets(self, library: Any, batch: int, device: Any) -> Any:
        return library.torch.zeros(batch, dtype=library.torch.int64, device=device)

    def of(self, library: Any, x: Any, targets: Any) -> Any:
        return library.torch.nn.functional.cross_entropy(x, targets)


def usual_loss() -> Loss:
    """The loss that a training strategy puts after the network's result."""
    return CrossEntropy()


CrossEntropy.examples = ((CrossEntropy(), (3, 10)),)
