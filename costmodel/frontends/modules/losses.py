"""Translates torch's loss functions into ops."""

from __future__ import annotations

from ...graph.op import OPS, Result
from ...ops._loss import MEAN, NONE, SUM
from .functions import FUNCTIONS, contiguous_like, function


def _by(t, name, *args, **named):
    """The result of a function of FUNCTIONS, of which torch's own loss function is made."""
    return FUNCTIONS[name](t.named(name), *args, **named)


def _checked(t, reduction, *deprecated) -> None:
    if reduction not in (MEAN, SUM, NONE) or any(other is not None for other in deprecated):
        raise t.error(f"{t.name} with reduction={reduction!r}, or with size_average or reduce,")


def _reduced(t, x, reduction):
    """The mean or the sum of numbers, or the numbers themselves, as torch's loss functions end."""
    return x if reduction == NONE else _by(t, reduction, x)


def _result(t, like, reduction):
    """The result of a loss whose numbers, before they are reduced, have a tensor's shape."""
    return t.torch.empty(like.shape if reduction == NONE else (), device="meta")


def _emitted(t, op, inputs, result):
    return t.emit(op, [*inputs[:2], *t.as_values(*inputs[2:])], result)


@function("cross_entropy")
def cross_entropy(
    t, x, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean", label_smoothing=0.0
):
    _checked(t, reduction, size_average, reduce)
    smoothing = float(label_smoothing)
    t.run(t.torch.nn.functional.cross_entropy, x, target, weight)  # refuses what does not fit
    if target.is_floating_point():
        return _of_probabilities(t, x, target, weight, reduction, smoothing)
    if reduction == MEAN and weight is None and (smoothing or _is_given(t, target)):
        return t.emit(OPS["cross_entropy"](smoothing), [x, target], _result(t, target, reduction))
    if smoothing:
        raise t.error("cross_entropy with label_smoothing and weights, or that is not averaged,")
    logs = _logarithms(t, x)
    return nll_loss(t.named("nll_loss"), logs, target, weight, reduction=reduction)


def _is_given(t, x) -> bool:
    """Whether a tensor is there before the step: one that is made in it is let go of within the loss."""
    (made,) = map(t.value, t.as_values(x))
    return made is not None and made.op.result is Result.GIVEN


def _logarithms(t, x):
    """Of the shares of classes, as cross-entropy makes them."""
    return t.emit(OPS["log_softmax"](_axis(x), of_a_loss=True), [x], contiguous_like(x))


def _axis(x) -> int:
    """The axis of the classes."""
    return min(x.dim() - 1, 1)


def _of_probabilities(t, x, target, weight, reduction, smoothing):
    """Written in torch with other functions (aten/src/ATen/native/LossNLL.cpp: cross_entropy_loss_prob_target)."""
    if smoothing:
        raise t.error("cross_entropy with label_smoothing and probabilities as targets")
    axis = _axis(x)
    logs = _logarithms(t, x)
    if weight is not None:
        weight = _by(t, "view", weight, [-1 if i == axis else 1 for i in range(x.dim())])
    product = _by(t, "mul", logs, target)
    del logs
    if weight is not None:
        product = _by(t, "mul", product, weight)
    if reduction == NONE:
        return _by(t, "neg", _by(t, "sum", product, axis))
    total = _by(t, "neg", _by(t, "sum", product))
    del product
    if reduction == SUM:
        return total
    return t.emit(OPS["mul_number"](x.numel() / x.shape[axis], divide=True, bare=True), [total], t.like(total))


@function("nll_loss")
def nll_loss(t, x, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    _checked(t, reduction, size_average, reduce)
    t.run(t.torch.nn.functional.nll_loss, x, target, weight)
    if reduction == NONE and x.dim() not in (2, 4):  # as places of maps, and back
        maps = _by(t, "reshape", x, (*x.shape[:2], 1, -1)), _by(t, "reshape", target, (len(target), 1, -1))
        return _by(t, "view", nll_loss(t.named("nll_loss"), *maps, weight, reduction=NONE), target.shape)
    op = OPS["nll"](reduction, weight is not None)
    return _emitted(t, op, (x, target, weight), _result(t, target, reduction))


@function("mse_loss")
def mse_loss(t, x, target, size_average=None, reduce=None, reduction="mean", weight=None):
    return _of_values(t, OPS["mse"], x, target, reduction, size_average, reduce, weight)


@function("smooth_l1_loss")
def smooth_l1_loss(t, x, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    return _of_values(t, OPS["smooth_l1"], x, target, reduction, size_average, reduce)


@function("huber_loss")
def huber_loss(t, x, target, reduction="mean", delta=1.0, weight=None):
    return _of_values(t, OPS["huber"], x, target, reduction, weight)


def _of_values(t, cls, x, target, reduction, *deprecated, weights=(), **fields):
    _checked(t, reduction, *deprecated)
    if x.shape != target.shape:
        raise t.error(f"{t.name} of shapes {tuple(x.shape)} and {tuple(target.shape)}")
    return _emitted(t, cls(reduction, **fields), (x, target, *weights), _result(t, x, reduction))


@function("binary_cross_entropy_with_logits")
def bce_with_logits(t, x, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None):
    given = {"weighted": weight is not None, "pos_weighted": pos_weight is not None}
    return _of_values(t, OPS["bce"], x, target, reduction, size_average, reduce, weights=(weight, pos_weight), **given)


@function("binary_cross_entropy")
def binary_cross_entropy(t, x, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    cls, given = OPS["binary_cross_entropy"], {"weighted": weight is not None}
    return _of_values(t, cls, x, target, reduction, size_average, reduce, weights=(weight,), **given)


# Those below are written in torch with other functions (aten/src/ATen/native/Loss.cpp, Distance.cpp).


@function("l1_loss")
def l1_loss(t, x, target, size_average=None, reduce=None, reduction="mean", weight=None):
    _checked(t, reduction, size_average, reduce, weight)
    difference = _by(t, "sub", x, target)
    return _reduced(t, _by(t, "abs", difference), reduction)


@function("kl_div")
def kl_div(t, x, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    averaged = reduction == "batchmean"
    _checked(t, SUM if averaged else reduction, size_average, reduce)
    if log_target:
        factor = _by(t, "exp", target)
        loss = _by(t, "mul", factor, _by(t, "sub", target, x))
        del factor
    else:
        entropy = _by(t, "xlogy", target, target)
        loss = _by(t, "sub", entropy, _by(t, "mul", target, x))
        del entropy
    total = _reduced(t, loss, SUM if averaged else reduction)
    return _by(t, "div", total, x.shape[0]) if averaged else total


@function("pairwise_distance")
def pairwise_distance(t, a, b, p=2.0, eps=1e-6, keepdim=False):
    difference = _by(t, "sub", a, b)
    difference = _by(t, "add", difference, eps)
    return _by(t, "norm", difference, p, -1, keepdim)


@function("triplet_margin_loss")
def triplet_margin_loss(
    t, anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, size_average=None, reduce=None,
    reduction="mean",
):  # fmt: skip
    _checked(t, reduction, size_average, reduce)
    if swap:
        raise t.error("triplet_margin_loss with swap")
    near, far = pairwise_distance(t, anchor, positive, p, eps), pairwise_distance(t, anchor, negative, p, eps)
    excess = _by(t, "sub", _by(t, "add", near, margin), far)
    excess = _by(t, "clamp_min", excess, 0)
    del near, far
    return _reduced(t, excess, reduction)


@function("cosine_similarity")
def cosine_similarity(t, a, b, dim=1, eps=1e-8):
    whole = t.torch.broadcast_shapes(a.shape, b.shape)
    a, b = (x if x.shape == whole else _by(t, "expand", x, whole) for x in (a, b))
    length_a = _by(t, "clone", _by(t, "norm", a, 2, dim, True))
    length_b = _by(t, "clone", _by(t, "norm", b, 2, dim, True))
    product = _by(t, "mul", _by(t, "div", a, length_a), _by(t, "div", b, length_b))
    return _by(t, "sum", product, dim)
