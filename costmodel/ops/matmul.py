"""Products of two activations, and attention."""

from __future__ import annotations

from functools import lru_cache

from ..op import Extra, Op, Pair, Work, check, op, pair
from ..layouts import Layout, contiguous, copy_of, dense
from ..size import broadcast, minimum, numel, require, where, window
from .conv import Conv2d


@op("matmul")
class Matmul(Op):
    """torch.matmul: (..., L, K) and (..., K, M) -> (..., L, M); the axes before the last two broadcast."""

    inputs = ("a", "b")

    def shape(self, a, b):
        require(len(a) >= 2 and len(b) >= 2, "matmul takes matrices, the inputs are {} and {}", a, b)
        require(a[-1] == b[-2], "matrices {} and {} do not fit", a, b)
        return (*broadcast(a[:-2], b[:-2]), a[-2], b[-1])

    def layout(self, axes, *xs):
        return contiguous(axes)

    def gradient_layout(self, gradient, y, x):
        return contiguous(len(x.order))

    def needs(self):
        return {"a": ("b",), "b": ("a",)}

    def work(self, y, a, b):
        each = Work(numel(y) * a[-1])
        return {"forward": each, "a": each, "b": each}

    def module(self, library):
        return library.torch.matmul


@op("convolve")
class Convolve(Op):
    """torch.nn.functional.conv2d by a weight that is a value, a fixed blur say: (N, C, H, W) and (O, C/groups, h, w).

    bias: one is given, as a value too.
    """

    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = False

    torch_joint = True  # as conv2d

    @property
    def inputs(self):
        return ("x", "weight", "bias") if self.bias else ("x", "weight")

    def __post_init__(self):
        for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(getattr(self, name), name, least))
        check(self.groups >= 1, f"groups is {self.groups}; allowed: >= 1")

    def shape(self, x, weight, bias=None):
        require(len(x) == len(weight) == 4, "convolve takes maps and a weight of four axes, not {} and {}", x, weight)
        fits = x[1] == weight[1] * self.groups
        require(fits, "the input has {} channels, the weight {} per group", x[1:2], weight[1:2])
        windows = zip(x[2:], weight[2:], self.stride, self.padding, self.dilation)
        h, w = (window(*each) for each in windows)
        require((h >= 1) & (w >= 1), "no output: the weight {} does not fit into the input {}", weight, x)
        require(bias is None or bias[0] == weight[0], "the weight {} and the bias {} do not fit", weight, bias or ())
        return (x[0], weight[0], h, w)

    def needs(self):
        needs = {"x": ("weight",), "weight": ("x",)}
        return {**needs, "bias": ()} if self.bias else needs

    def work(self, y, x, weight, bias=None):
        macs, n = numel(y) * numel(weight[1:]), numel(y)
        work = {"forward": Work(macs, n if self.bias else 0), "x": Work(macs), "weight": Work(macs)}
        return {**work, "bias": Work(0, n)} if self.bias else work

    def transients(self, setting, y, x, weight, bias=None):
        layouts = setting.layouts[:1]
        return _layer(self, weight).transients(setting._replace(layouts=layouts), y, x)  # it is the same kernels

    layout, gradient_layout = Conv2d.layout, Conv2d.gradient_layout

    def module(self, library):
        conv2d, rest = library.torch.nn.functional.conv2d, (self.stride, self.padding, self.dilation, self.groups)
        return lambda x, weight, bias=None: conv2d(x, weight, bias, *rest)


@lru_cache(maxsize=1024)
def _layer(op, weight):
    """The layer that convolves by a weight of this shape."""
    outputs, per_group, *kernel = weight
    return Conv2d(per_group * op.groups, outputs, kernel, op.stride, op.padding, op.dilation, op.groups, op.bias)


BY_TOKEN = Layout((0, 2, 1, 3))  # of (N, heads, L, E)


@op("attention")
class Attention(Op):
    """torch.nn.functional.scaled_dot_product_attention: softmax(q k' / sqrt(E)) v by torch's flash kernel for CPUs.

    (N, heads, L, E), (N, heads, S, E), (N, heads, S, E) -> (N, heads, L, E), stored as the queries are, or by_token: as
    (N, L, heads, E). The weights are not kept: backward computes them again from the queries, the keys and the logarithms
    of the softmax's sums.
    """

    by_token: bool = False

    inputs = ("q", "k", "v")
    torch_joint = True  # aten::_scaled_dot_product_flash_attention_for_cpu_backward

    def shape(self, q, k, v):
        require(len(q) == len(k) == len(v) == 4, "attention takes (N, heads, L, E), the queries are {}", q)
        require(q[-1] == k[-1], "queries {} and keys {} do not fit", q, k)
        return (*q[:-1], v[-1])

    def layout(self, axes, *xs):
        return BY_TOKEN if self.by_token else dense(xs[0])

    def gradient_layout(self, gradient, y, x):
        return BY_TOKEN

    def needs(self):
        return dict.fromkeys(self.inputs, ("q", "k", "v", "y", "logsumexp"))

    def extras(self, q, k, v):
        return {"logsumexp": Extra(q[:-1], 32)}

    def transients(self, setting, y, q, k, v):
        # aten/src/ATen/native/cpu/FlashAttentionKernel.cpp: each thread has the weights of a block of queries and keys,
        # the maxima and sums of their rows, and their part of the output; in backward the weights and their gradients,
        # and all together one number per row. Backward wants the output's gradient by token.
        given = 0 if setting.recorded else 4 * numel(q[:-1])  # the logarithms of the sums
        if not setting.kernels:
            return (given, 0)
        block = where(q[2] >= 768, 256, where(q[2] >= 192, 64, 32))
        rows, columns = minimum(block, q[2]), minimum(512, k[2])
        lies = setting.gradient or contiguous(4)
        copy = copy_of(lies, y, BY_TOKEN.order, setting.item * numel(y))
        each = rows * (columns + 2 + v[3]), 2 * rows * columns
        forward, backward = (4 * setting.target.threads * one for one in each)
        return (given + forward, copy + backward + 4 * rows)

    def work(self, y, q, k, v):
        one, other = numel(q) * k[-2], numel(q[:-1]) * k[-2] * v[-1]
        pairs = numel(q[:-1]) * k[-2]
        # dv = p' g; dp = g v'; dq = ds k; dk = ds' q; p = softmax(q k') is made again, counted with dq as dp is.
        return {
            "forward": Work(one + other, 6 * pairs),
            "q": Work(2 * one + other, 9 * pairs),
            "k": Work(one),
            "v": Work(other),
        }

    def module(self, library):
        return library.torch.nn.functional.scaled_dot_product_attention


@op("softmax")
class Softmax(Op):
    """torch.softmax along an axis: dx = y * (g - sum(g * y)) reads the output."""

    axis: int = -1

    def shape(self, x):
        require(-len(x) <= self.axis < len(x), "axis {} is not there in {}", (self.axis,), x)
        return x

    def layout(self, axes, *xs):
        return contiguous(axes)

    def gradient_layout(self, gradient, y, x):
        return contiguous(len(x.order))

    def needs(self):
        return {"x": ("y",)}

    def work(self, y, x):
        n = numel(y)  # max, subtract, exp, sum, divide
        return {"forward": Work(0, 5 * n), "x": Work(0, 4 * n)}

    def module(self, library):
        return library.nn.Softmax(self.axis)


Matmul.examples = (
    (Matmul(), (2, 3, 5, 4), (2, 3, 4, 6)),
    (Matmul(), (2, 5, 4), (2, 4, 6)),
)
Convolve.examples = (
    (Convolve(groups=8, stride=2), (2, 8, 7, 7), (8, 1, 3, 3)),
    (Convolve(padding=1), (2, 4, 5, 5), (6, 4, 3, 3)),
    (Convolve(bias=True), (2, 4, 5, 5), (6, 4, 1, 1), (6,)),
)
Attention.examples = ((Attention(), (2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4)),)
Softmax.examples = ((Softmax(), (2, 3, 5)), (Softmax(1), (2, 4, 3, 3)))
