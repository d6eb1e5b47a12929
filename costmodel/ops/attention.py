"""Attention: by torch's kernel for CPUs, and in the parts that torch runs where that kernel does not serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..graph.op import Axes, Casts, Extra, Op, Scratch, Stock, Work, check, op
from ..sizes.size import Shape, broadcast, minimum, numel, require, where
from ..targets.memory_order import MemoryOrder, contiguous, copy_of, dense
from ..targets.setting import Setting
from .arithmetic import Add, MulNumber
from .mask import MASK
from .matmul import Softmax
from .noise import Dropout
from .view import Permute

BY_TOKEN = MemoryOrder((0, 2, 1, 3))  # of (N, heads, L, E)


@op("attention")
class Attention(Op):
    """torch.nn.functional.scaled_dot_product_attention: softmax(q k' / sqrt(E)) v by torch's flash kernel for CPUs.

    (N, heads, L, E), (N, heads, S, E), (N, heads, S, E) -> (N, heads, L, E). The output has the memory order of the
    queries, or with by_token that of (N, L, heads, E). The attention weights are not kept: backward computes them again
    from queries, keys and the logarithms of the softmax's sums.

    masked: numbers are added to q k', in a shape that broadcasts to (N, heads, L, S). The kernel makes no gradient of
    them: where one is demanded, the parts of attention take the op's place (`in_parts`). copied: which of q, k and v
    these copy. causal: a query sees no later keys. scale: in place of 1 / sqrt(E); 0 without a mask means that.
    """

    timed_as = ("matmul",)

    by_token: bool = False
    masked: bool = False
    copied: Axes = ()
    causal: bool = False
    scale: float = 0.0
    of_cpus = True

    shape_only = ("mask",)
    input_bits = {"mask": 0}
    casts = Casts.LOWER

    def __post_init__(self) -> None:
        check(set(self.copied) <= {0, 1, 2}, f"copied is {list(self.copied)}; allowed: some of 0, 1 and 2")
        check(not (self.masked and self.causal), "attention is masked and causal; allowed: one of them")
        check(not self.masked or self.scale > 0, f"scale is {self.scale}; allowed with a mask: > 0")

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("q", "k", "v", "mask") if self.masked else ("q", "k", "v")

    def shape(self, q: Shape, k: Shape, v: Shape, *masks: Shape) -> Shape:
        require(len(q) == len(k) == len(v) == 4, "attention takes (N, heads, L, E), the queries are {}", q)
        require(q[-1] == k[-1], "queries {} and keys {} do not fit", q, k)
        for mask in masks:
            weights = (*q[:-1], k[-2])
            require(
                numel(broadcast(weights, mask)) == numel(weights), "a mask {} does not fit weights {}", mask, weights
            )
        return (*q[:-1], v[-1])

    reads_channels_last = False

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return BY_TOKEN if self.by_token else dense(xs[0])

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return BY_TOKEN

    stock = Stock(joint=True)  # aten::_scaled_dot_product_flash_attention_for_cpu_backward

    def needs(self) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(("q", "k", "v"), (*self.inputs, "y", "logsumexp"))

    def extras(self, q: Shape, *others: Shape) -> dict[str, Extra]:
        return {"logsumexp": Extra(q[:-1], 32)}

    def modelled(self, setting: Setting, y: Shape, *xs: Shape) -> Any:
        return super().modelled(setting, y, *xs) and not setting.target.channels_last

    def scratch(self, setting: Setting, y: Shape, q: Shape, k: Shape, v: Shape, *masks: Shape) -> Scratch:
        # aten/src/ATen/native/cpu/FlashAttentionKernel.cpp. Forward: each thread holds the weights of a block of
        # queries and keys, the maxima and sums of their rows, and their part of the output. Backward: each thread holds
        # the weights and their gradients, and all share one number per row; the output's gradient is read by token.
        given = 0 if setting.recorded else 4 * numel(q[:-1])  # the logarithms of the sums
        # The call makes all three gradients, and lets go of those that nobody wants.
        unasked = sum(
            setting.item * numel(x) for name, x in zip(self.inputs, (q, k, v)) if name not in setting.demanded
        )
        if not setting.kernels:
            return Scratch(given, unasked)
        block = where(q[2] >= 768, 256, where(q[2] >= 192, 64, 32))
        rows, columns = minimum(block, q[2]), minimum(512, k[2])
        incoming = setting.gradient or contiguous(4)
        copy = copy_of(incoming, y, BY_TOKEN.order, setting.item * numel(y))
        each = rows * (columns + 2 + v[3]), 2 * rows * columns
        forward, backward = (4 * setting.target.threads * one for one in each)
        return Scratch(given + forward, unasked + copy + backward + 4 * rows)

    def work(self, y: Shape, q: Shape, k: Shape, v: Shape, *masks: Shape) -> dict[str, Work]:
        one, other = numel(q) * k[-2], numel(q[:-1]) * k[-2] * v[-1]
        pairs = numel(q[:-1]) * k[-2]
        # dv = p' g; dp = g v'; dq = ds k; dk = ds' q. p = softmax(q k') is computed again; it and dp count with dq.
        return {
            "forward": Work(one + other, (6 + self.masked) * pairs),
            "q": Work(2 * one + other, (9 + self.masked) * pairs),
            "k": Work(one),
            "v": Work(other),
        }

    def module(self, library: Any) -> Callable:
        attend = library.torch.nn.functional.scaled_dot_product_attention
        return lambda q, k, v, mask=None: attend(q, k, v, mask, is_causal=self.causal, scale=self.scale or None)


@op("added_mask")
class AddedMask(Op):
    """The numbers that attention adds for a mask of bools: 0 where it is true, minus infinity where it is not.

    They have the data type of the second input, the queries.
    """

    inputs = ("mask", "like")
    shape_only = ("mask", "like")
    input_bits = {"mask": MASK, "like": 0}

    def shape(self, mask: Shape, like: Shape) -> Shape:
        return mask

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {}

    def work(self, y: Shape, mask: Shape, like: Shape) -> dict[str, Work]:
        return {"forward": Work(0, numel(y))}

    def scratch(self, setting: Setting, y: Shape, mask: Shape, like: Shape) -> Scratch:
        return Scratch(2 * setting.item)  # the two numbers

    def module(self, library: Any) -> Callable:
        where, inf = library.torch.where, library.torch.inf
        return lambda mask, like: where(mask, like.new_full((), 0.0), like.new_full((), -inf))


@op("safe_softmax")
class SafeSoftmax(Softmax):
    """torch's softmax for attention: 0 where all that a query could see is masked. Its gradient is softmax's."""

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        work = super().work(y, x)
        return {**work, "forward": Work(0, work["forward"].elementwise + 3 * numel(y))}

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and not setting.layouts

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        usual = super().scratch(setting, y, x)
        if not setting.kernels:
            return usual
        # Which numbers are masked, which rows are, a byte each; the number that replaces these.
        masked = numel(x) + numel(x) // x[self.axis] + setting.item
        return Scratch(usual.forward + masked, usual.backward)

    def module(self, library: Any) -> Callable:
        return lambda x: library.torch._safe_softmax(x, self.axis)


Value = TypeVar("Value")


def in_parts(
    do: Callable[..., Value],
    product: Callable[[Value, Value], Value],
    axes: int,
    scale: float,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None = None,
    p: float = 0.0,
) -> Value:
    """Attention by torch's "math" implementation (aten/src/ATen/native/transformers/attention.cpp).

    It runs where the kernel does not serve. do(op, *values): appends an op and gives its value. product: appends a
    product of matrices. axes: of the values. p: of dropout. Values live as long as torch holds them.
    """
    root = MulNumber(scale**0.5, bare=True)
    q = do(root, q)
    k = do(root, do(Permute((*range(axes - 2), axes - 1, axes - 2)), k))
    weights = product(q, k)
    del k
    if mask is not None:
        weights = do(Add(inplace=True), weights, mask)
    weights = do(SafeSoftmax(), weights)
    if p:
        weights = do(Dropout(p), weights)
    return product(weights, v)


_HEADS = (2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4)
Attention.examples = (
    (Attention(), *_HEADS),
    (Attention(masked=True, scale=0.5), *_HEADS, (1, 3, 5, 5)),
    (Attention(causal=True, scale=0.3), *_HEADS),
)
AddedMask.examples = ((AddedMask(), (5, 7), (2, 3, 5, 4)),)
SafeSoftmax.examples = ((SafeSoftmax(), (2, 3, 5)), (SafeSoftmax(), (2, 4, 3, 3)))
