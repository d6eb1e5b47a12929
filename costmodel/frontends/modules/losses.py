"""Translates torch's loss functions into ops."""

from __future__ import annotations

from ...graph.op import OPS
from .functions import FUNCTIONS, function


def _averaged(t, reduction, *others) -> None:
    """Refuse what the ops of losses do not know."""
    if reduction != "mean" or any(other is not None for other in others):
        raise t.error(f"{t.name} with weights, or that is not averaged,")


def _number(t):
    """The result of a loss."""
    return t.torch.empty((), device="meta")


@function("cross_entropy")
def cross_entropy(
    t, x, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean", label_smoothing=0.0
):
    _averaged(t, reduction, weight, size_average, reduce)
    if target.is_floating_point():
        raise t.error("cross_entropy with probabilities as targets")
    t.run(t.torch.nn.functional.cross_entropy, x, target)  # refuses what does not fit
    return t.emit(OPS["cross_entropy"](float(label_smoothing)), [x, target], _number(t))


@function("nll_loss")
def nll_loss(t, x, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    _averaged(t, reduction, weight, size_average, reduce)
    t.run(t.torch.nn.functional.nll_loss, x, target)
    return t.emit(OPS["nll"](), [x, target], _number(t))


@function("mse_loss")
def mse_loss(t, x, target, size_average=None, reduce=None, reduction="mean", weight=None):
    return _of_values(t, "mse", x, target, reduction, size_average, reduce, weight)


@function("smooth_l1_loss")
def smooth_l1_loss(t, x, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    return _of_values(t, "smooth_l1", x, target, reduction, size_average, reduce)


@function("huber_loss")
def huber_loss(t, x, target, reduction="mean", delta=1.0, weight=None):
    return _of_values(t, "huber", x, target, reduction, weight)


@function("binary_cross_entropy_with_logits")
def bce_with_logits(t, x, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None):
    return _of_values(t, "bce", x, target, reduction, weight, size_average, reduce, pos_weight)


def _of_values(t, kind, x, target, reduction, *others):
    _averaged(t, reduction, *others)
    if x.shape != target.shape:
        raise t.error(f"{t.name} of shapes {tuple(x.shape)} and {tuple(target.shape)}")
    return t.emit(OPS[kind](), [x, target], _number(t))


@function("l1_loss")
def l1_loss(t, x, target, size_average=None, reduce=None, reduction="mean", weight=None):
    _averaged(t, reduction, size_average, reduce, weight)
    difference = FUNCTIONS["sub"](t.named("sub"), x, target)
    length = FUNCTIONS["abs"](t.named("abs"), difference)
    return FUNCTIONS["mean"](t.named("mean"), length)
