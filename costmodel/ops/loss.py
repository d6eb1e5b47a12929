"""The loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Extra, Op, Scratch, Stock, Work, op
from ..sizes.size import Shape, Size, maximum, nbytes, numel, require
from ..targets.setting import Setting

TARGET_BITS = 64  # bits of a target, a class as int64


@op("cross_entropy")
class CrossEntropy(Op):
    """torch.nn.functional.cross_entropy of logits (N, classes) with int64 targets (N,), averaged: -> ()."""

    is_loss = True

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

    def module(self, library: Any) -> Callable:
        torch = library.torch

        def cross_entropy(x: Any) -> Any:
            return torch.nn.functional.cross_entropy(x, torch.zeros(len(x), dtype=torch.int64, device=x.device))

        return cross_entropy


CrossEntropy.examples = ((CrossEntropy(), (3, 10)),)
