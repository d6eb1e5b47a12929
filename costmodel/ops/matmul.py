"""Products of two activations, and attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.aspects.memory_format import ContiguousOnly
from ..graph.op import Casts, Extra, Op, Scratch, Stock, Work, op
from ..sizes.size import Shape, broadcast, minimum, numel, require, where
from ..targets.memory_order import MemoryOrder, contiguous, copy_of, dense
from ..targets.setting import Setting


@op("matmul")
class Matmul(ContiguousOnly, Op):
    """torch.matmul: (..., L, K) and (..., K, M) -> (..., L, M); the axes before the last two broadcast."""

    inputs = ("a", "b")
    casts = Casts.LOWER

    def shape(self, a: Shape, b: Shape) -> Shape:
        require(len(a) >= 2 and len(b) >= 2, "matmul takes matrices, the inputs are {} and {}", a, b)
        require(a[-1] == b[-2], "matrices {} and {} do not fit", a, b)
        return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1])

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("b",), "b": ("a",)}

    def work(self, y: Shape, a: Shape, b: Shape) -> dict[str, Work]:
        each = Work(numel(y) * a[-1])
        return {"forward": each, "a": each, "b": each}

    def modelled(self, setting: Setting, y: Shape, a: Shape, b: Shape) -> Any:
        # BLAS takes matrices with an axis without gaps; others are copied, as are maps in channels_last.
        expanded = setting.gradient is not None and bool(setting.gradient.outside)
        strided = any(x.order[-1] in (*x.outside, *range(len(x.order) - 2)) for x in setting.layouts)
        flat = setting.channels_last and 4 in (len(a), len(b))
        return super().modelled(setting, y, a, b) and not (expanded or strided or flat)

    def module(self, library: Any) -> Callable:
        return library.torch.matmul


BY_TOKEN = MemoryOrder((0, 2, 1, 3))  # of (N, heads, L, E)


@op("attention")
class Attention(Op):
    """torch.nn.functional.scaled_dot_product_attention: softmax(q k' / sqrt(E)) v by torch's flash kernel for CPUs.

    (N, heads, L, E), (N, heads, S, E), (N, heads, S, E) -> (N, heads, L, E). The output has the memory order of the
    queries, or with by_token that of (N, L, heads, E). The attention weights are not kept: backward computes them again
    from queries, keys and the logarithms of the softmax's sums.
    """

    by_token: bool = False
    of_cpus = True

    inputs = ("q", "k", "v")
    casts = Casts.LOWER

    def shape(self, q: Shape, k: Shape, v: Shape) -> Shape:
        require(len(q) == len(k) == len(v) == 4, "attention takes (N, heads, L, E), the queries are {}", q)
        require(q[-1] == k[-1], "queries {} and keys {} do not fit", q, k)
        return (*q[:-1], v[-1])

    reads_channels_last = False

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return BY_TOKEN if self.by_token else dense(xs[0])

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return BY_TOKEN

    stock = Stock(joint=True)  # aten::_scaled_dot_product_flash_attention_for_cpu_backward

    def needs(self) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(self.inputs, ("q", "k", "v", "y", "logsumexp"))

    def extras(self, q: Shape, k: Shape, v: Shape) -> dict[str, Extra]:
        return {"logsumexp": Extra(q[:-1], 32)}

    def modelled(self, setting: Setting, y: Shape, q: Shape, k: Shape, v: Shape) -> Any:
        return super().modelled(setting, y, q, k, v) and not setting.target.channels_last

    def scratch(self, setting: Setting, y: Shape, q: Shape, k: Shape, v: Shape) -> Scratch:
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

    def work(self, y: Shape, q: Shape, k: Shape, v: Shape) -> dict[str, Work]:
        one, other = numel(q) * k[-2], numel(q[:-1]) * k[-2] * v[-1]
        pairs = numel(q[:-1]) * k[-2]
        # dv = p' g; dp = g v'; dq = ds k; dk = ds' q. p = softmax(q k') is computed again; it and dp count with dq.
        return {
            "forward": Work(one + other, 6 * pairs),
            "q": Work(2 * one + other, 9 * pairs),
            "k": Work(one),
            "v": Work(other),
        }

    def module(self, library: Any) -> Callable:
        return library.torch.nn.functional.scaled_dot_product_attention


@op("softmax")
class Softmax(ContiguousOnly, Op):
    """torch.softmax along an axis. Its gradient, dx = y * (g - sum(g * y)), reads the output."""

    axis: int = -1

    def shape(self, x: Shape) -> Shape:
        require(-len(x) <= self.axis < len(x), "axis {} is not there in {}", (self.axis,), x)
        return x

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("y",)}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(y)  # max, subtract, exp, sum, divide
        return {"forward": Work(0, 5 * n), "x": Work(0, 4 * n)}

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and not (setting.channels_last and len(x) == 4)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(setting.copy_of_input(x), setting.copy_of_gradient(y)) if setting.kernels else Scratch()

    def module(self, library: Any) -> Callable:
        return library.nn.Softmax(self.axis)


@op("log_softmax")
class LogSoftmax(Softmax):
    """torch.log_softmax along an axis. Its gradient, dx = g - exp(y) * sum(g), reads the output as softmax's does."""

    def module(self, library: Any) -> Callable:
        return library.nn.LogSoftmax(self.axis)


LogSoftmax.examples = ((LogSoftmax(), (2, 3, 5)), (LogSoftmax(1), (2, 4, 3, 3)))
Matmul.examples = ((Matmul(), (2, 3, 5, 4), (2, 3, 4, 6)), (Matmul(), (2, 5, 4), (2, 4, 6)))
Attention.examples = ((Attention(), (2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4)),)
Softmax.examples = ((Softmax(), (2, 3, 5)), (Softmax(1), (2, 4, 3, 3)))
