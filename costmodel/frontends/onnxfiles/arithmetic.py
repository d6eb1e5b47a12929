"""Translates ONNX's arithmetic operators into ops, and recognises ops that exporters write as several operators."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple

from .layers import OPERATORS, activation, kept, operator, refuse

# Arithmetic.


def binary(kind: str) -> Callable[..., Any]:
    def entry(r, a, b):
        if isinstance(a, Noise) or isinstance(b, Noise):
            return noisy(r, kind, a, b)
        for x, other, first in ((a, b, True), (b, a, False)):
            number = r.number(other)
            if number is not None and x is not None and len(other.shape) <= len(x.shape):
                alone = with_number(r, kind, r.live(x), number, first)
                if alone is not None:
                    return alone
        if kind == "add":
            whole = group_norm(r, a, b)
            if whole is not None:
                return whole
        a, b = r.live(a), r.live(b)
        return r.emit(kind, {}, [a, b], kept(a if len(a.shape) >= len(b.shape) else b))

    return entry


def with_number(r, kind: str, x: Any, number: float, first: bool) -> Any | None:
    """The op of x and a number; first: whether x is the first operand. None for a number divided by x."""
    if kind == "div":
        name, rest = r.node.input[0], (("Erf", None), ("Add", 1.0))
        halves = (("Mul", name), ("Mul", 0.5)), (("Mul", 0.5), ("Mul", name))
        if first and abs(number - sqrt(2)) < 1e-6 and any(r.follow(*rest, *two) for two in halves):
            return activation(r, x, "gelu")
        return r.emit("mul_number", {"number": number, "divide": True}, [x], kept(x)) if first else None
    if kind == "mul":
        return r.emit("mul_number", {"number": number}, [x], kept(x))
    if kind == "sub" and not first:
        return r.emit("rsub_number", {"number": number}, [x], kept(x))
    return r.emit("add_number", {"number": number if kind == "add" else -number}, [x], kept(x))


for _kind in ("add", "sub", "mul", "div"):
    OPERATORS[_kind.capitalize()] = binary(_kind)


@operator("Sum")
def total(r, first, *others):
    for other in others:
        first = OPERATORS["Add"](r, first, other)
    return first


def elementwise(kind: str) -> Callable[..., Any]:
    def entry(r, x):
        return r.emit(kind, {}, [r.live(x)], kept(r.live(x)))

    return entry


for _operator in ("Abs", "Log", "Sin", "Cos", "Reciprocal", "Sign", "Floor", "Ceil", "Round"):
    OPERATORS[_operator] = elementwise(_operator.lower())


def larger(kind: str) -> Callable[..., Any]:
    def entry(r, *inputs):
        found, *others = map(r.live, inputs)
        for other in others:
            found = r.emit(kind, {}, [found, other], kept(found if len(found.shape) >= len(other.shape) else other))
        return found

    return entry


OPERATORS["Max"], OPERATORS["Min"] = larger("maximum"), larger("minimum")


@operator("Neg")
def negative(r, x):
    return with_number(r, "sub", r.live(x), 0.0, False)


@operator("Pow")
def power(r, x, exponent):
    number = r.number(exponent)
    refuse(number is None, "a power that is a tensor")
    return r.emit("pow_number", {"number": number}, [x], kept(r.live(x)))


# A group norm as exporters write it: each group is reshaped to one channel and normalised, then scaled and shifted.


def group_norm(r, a, shift) -> Any | None:
    """The group norm that ends in this sum, else None. Nothing then reads its other nodes, and they are dropped."""
    product = r.maker(a, "mul")
    seen = product and r.maker(product[0], "reshape")
    norm = seen and r.maker(seen[0], "group_norm")
    grouped = norm and r.maker(norm[0], "reshape")
    if not grouped:
        return None
    x, scale, shift = grouped[0], r.parameter(product[1]), r.parameter(shift)
    channels = x.shape[1]
    if x.shape != a.shape or scale is None or shift is None or not scale.size == shift.size == channels:
        return None
    fields = {"groups": norm[0].shape[1], "eps": seen[0].draft.op.eps}
    return r.emit("group_norm", fields, [x], weight=scale, bias=shift)


# Dropout as exporters write it: a product with (random < 1 - p) / (1 - p).


class Noise(NamedTuple):
    """Random numbers that become a dropout mask.

    keep: the probability that a value is kept, None before the comparison. divided: whether the mask is scaled by it.
    """

    shape: tuple[int, ...]
    keep: float | None = None
    divided: bool = False


@operator("RandomNormalLike")
def random_normal(r, x):
    refuse(
        (r.attribute("mean", 0.0), r.attribute("scale", 1.0)) != (0.0, 1.0), "random numbers of another mean or scale"
    )
    return r.emit("random", {}, [x], kept(r.live(x)))


@operator("RandomUniformLike")
def random(r, x):
    refuse((r.attribute("low", 0.0), r.attribute("high", 1.0)) != (0.0, 1.0), "random numbers but from 0 to 1")
    return Noise(x.shape)


def noisy(r, kind: str, a, b):
    """The mask divided by its probability, or its product with a value: dropout, or stochastic depth."""
    if kind == "div" and isinstance(a, Noise) and a.keep is not None and r.number(b) == a.keep:
        return a._replace(divided=True)
    x, noise = (b, a) if isinstance(a, Noise) else (a, b)
    refuse(kind != "mul" or not noise.divided, "arithmetic with random numbers, but for dropout,")
    assert noise.keep is not None, "what is divided has been compared"
    p = round(1 - noise.keep, 6)
    if noise.shape == x.shape:
        return r.emit("dropout", {"p": p}, [x], kept(x))
    rows = noise.shape[0] in (x.shape[0], r.fixed)
    refuse(len(noise.shape) != len(x.shape) or set(noise.shape[1:]) != {1}, f"noise of the shape {noise.shape}")
    return r.emit("stochastic_depth", {"p": p, "mode": "row" if rows else "batch"}, [x], kept(x))
