"""How a norm's result, and its product with a gate, is made again in the backward pass, slice by slice of the batch.

It is made by the kernel that made it first, from the same numbers: equal to the last bit (in float16, whose statistics
are rounded before they are kept, to the last bit but one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...ops import remade
from ...ops.remade import READS_INPUT
from .masked import FORWARD

if TYPE_CHECKING:
    from typing_extensions import Self

aten = torch.ops.aten


def _same(g: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
    return g if out is g or out is None else out.copy_(g)


def _relu(g: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
    return aten.threshold_backward.grad_input(g, y, 0, grad_input=g if out is None else out)


def _relu6(g: Tensor, y: Tensor, out: Tensor | None) -> Tensor:
    return aten.hardtanh_backward.grad_input(g, y, 0, 6, grad_input=g if out is None else out)


def _hardswish(g: Tensor, z: Tensor, out: Tensor | None) -> Tensor:
    made = aten.hardswish_backward(g, z)  # its form with `out` makes a new tensor, too
    return made if out is None else out.copy_(made)


def _silu(g: Tensor, z: Tensor, out: Tensor | None) -> Tensor:
    return aten.silu_backward.grad_input(g, z, grad_input=g if out is None else out)


#: By kind, an activation's derivative times a gradient g, made of what it reads (y, or z = norm(x): READS_INPUT) into
#: `out`; None: the result may be g or a new tensor.
BACKWARD = {"": _same, "relu": _relu, "relu6": _relu6, "hardswish": _hardswish, "silu": _silu}


def activated_(of: str, z: Tensor) -> Tensor:
    """A norm's output after its activation, in place. of: the activation's kind, "" for none."""
    return FORWARD[of][True](z) if of else z


def slices(x: Tensor) -> list[slice]:
    """How a map (N, ...) is cut along the batch."""
    size = x.numel() * x.element_size()
    if size <= remade.SLICE_BYTES:
        return [slice(0, len(x))]
    step = remade.images_at_once(len(x), size // len(x))
    return [slice(i, i + step) for i in range(0, len(x), step)]


class Link:
    """What a reader's backward pass has already made of the backward pass of the layer before it (`done`).

    Sums: of a norm down to the gradient of its output, with the gradients of scale and shift, or without any, (), if
    the stock kernel makes all at once; None if nothing is made. Or the gradient of a gate (N, C, 1, 1).
    """

    def __init__(self) -> None:
        self.done: Any = None
        self._made: tuple[int, int] = (0, 0)

    def leave(self, done: Any, made: Tensor) -> None:
        """Leave sums or a gate's gradient to the layer before, with the gradient that is returned to it."""
        self.done, self._made = done, (made.data_ptr(), made._version)

    def take(self, g: Tensor) -> Any:
        """What was left, if anything was. g: the gradient that has come.

        Raises RuntimeError if that is another one than was returned: then something else has read the result, too.
        """
        done, self.done = self.done, None
        if done is not None and self._made != (g.data_ptr(), g._version):
            raise RuntimeError(
                "a result inside a lean module has got a further gradient, of a reader that its layer graph does not"
                " have (a loss on it, or a hook): realise the module with the strategy's option recompute=none"
            )
        return done


class Norm(NamedTuple):
    """What of a norm's module its backward pass reads, beside tensors. of: the activation's kind."""

    of: str
    batch: bool  # the batch's statistics
    eps: float


class Recipe:
    """How a tensor is made again. It travels on the tensor, and is lost if somebody writes into that."""

    @property
    def tensors(self) -> tuple[Any, ...]:
        """All that autograd has to keep."""
        raise NotImplementedError

    def filled(self, tensors: Sequence[Any]) -> Self:
        """The same recipe with tensors in the places of its own."""
        raise NotImplementedError

    def empty(self) -> Self:
        """The recipe without tensors, for autograd to keep these apart from it."""
        return self.filled([None] * len(self.tensors))

    def on(self, y: Tensor) -> Tensor:
        """The tensor that is so made, with its recipe."""
        y.recipe = self, y._version
        return y


class Remade(Recipe):
    """How slices of a tensor are made again: a norm's result, or a map that is kept, perhaps times a gate.

    norm: None for a map that is kept. roots: the norm's input, scale, shift and statistics, or that map; then the gate
    (N, C, 1, 1) or (N, 1, 1, 1), if there is one. source: how the norm's input is made, if it is not kept; then None
    stands for it.
    """

    def __init__(self, norm: Norm | None, roots: Sequence[Any], link: Link, source: Source | None = None) -> None:
        self.norm, self.roots, self.link, self.source = norm, tuple(roots), link, source

    @property
    def tensors(self) -> tuple[Any, ...]:
        return self.roots + (self.source.tensors if self.source else ())

    def filled(self, tensors: Sequence[Any]) -> Remade:
        n = len(self.roots)
        return Remade(self.norm, tensors[:n], self.link, self.source.filled(tensors[n:]) if self.source else None)

    def times(self, gate: Tensor) -> Remade:
        """How the product with a gate is made."""
        return Remade(self.norm, (*self.roots, gate), Link(), self.source)

    def maker(self) -> Maker | Keeper:
        """What makes slices of the tensor, or gives them."""
        return Keeper(self) if self.norm is None else Maker(self)


class Sum(Recipe):
    """How the sum of two tensors is made again: their recipes. No norm makes it."""

    norm = None

    def __init__(self, terms: Sequence[Remade | Sum]) -> None:
        self.terms = terms

    @property
    def tensors(self) -> tuple[Any, ...]:
        return tuple(tensor for term in self.terms for tensor in term.tensors)

    def filled(self, tensors: Sequence[Any]) -> Sum:
        n = len(self.terms[0].tensors)
        return Sum([term.filled(own) for term, own in zip(self.terms, (tensors[:n], tensors[n:]))])

    def maker(self) -> Adder:
        return Adder([term.maker() for term in self.terms])


class Source(Recipe):
    """How a convolution's output is made again: whole, by the first that reads it, for all up to the last.

    options: stride, padding, dilation, groups. remade: of the convolution's input. made: the output, while it is there.
    """

    def __init__(
        self, options: tuple, remade: Remade, parameters: Sequence[Any], made: list[Tensor] | None = None
    ) -> None:
        self.options, self.remade, self.parameters = options, remade, tuple(parameters)
        self.made: list[Tensor] = [] if made is None else made

    @property
    def tensors(self) -> tuple[Any, ...]:
        return self.parameters + self.remade.tensors

    def filled(self, tensors: Sequence[Any]) -> Source:
        return Source(self.options, self.remade.filled(tensors[2:]), tensors[:2], self.made)

    def output(self, is_last: bool) -> Tensor:
        """The convolution's output. is_last: nobody will ask for it again."""
        if not self.made:
            x = whole(self.remade.maker(), slice(0, None))
            self.made.append(F.conv2d(x, *self.parameters, *self.options))
        return self.made.pop() if is_last else self.made[0]


def source_of(conv: nn.Conv2d, remade: Remade) -> Source:
    """How a convolution's output is made again. remade: how its input is."""
    options = (conv.stride, conv.padding, conv.dilation, conv.groups)
    return Source(options, remade, (conv.weight, conv.bias))


def scaled(y: Tensor, gate: Tensor, apart: bool) -> Tensor:
    """y times a gate, in y's memory unless both are wanted."""
    return y * gate if apart else y.mul_(gate)


def recipe_of(y: Tensor) -> Any:
    """How a tensor is made again; None if that is not known, or if somebody has written into the tensor since."""
    recipe, version = getattr(y, "recipe", (None, 0))
    return recipe if version == y._version else None


def wide(t: Tensor) -> Tensor:
    """A tensor in at least 32 bits, in which kernels compute with parameters of 16, too."""
    return t.float() if t.element_size() < 4 else t


class Maker:
    """Makes slices of a norm's result again. is_last: it is the last that asks for the norm's input."""

    def __init__(self, remade: Remade, is_last: bool = False) -> None:
        assert remade.norm is not None
        self.norm, roots = remade.norm, remade.roots
        x, self.weight, self.bias, self.mean, self.spread = roots[:5]
        self.x: Tensor = remade.source.output(is_last) if remade.source else x
        self.gate = roots[5] if len(roots) > 5 else None
        self.vectors: tuple[Tensor, ...] = ()
        if self.norm.batch:
            self.mean, self.spread = wide(self.mean), wide(self.spread)

    @property
    def at_once(self) -> bool:
        """Whether the stock kernel makes all gradients in one call."""
        return self.x.numel() * self.x.element_size() <= remade.AT_ONCE_BYTES and len(slices(self.x)) == 1

    def prepared(self) -> tuple[Tensor, ...]:
        """Scale, shift and variance with which the norm's kernel makes its output again.

        It computes weight / sqrt(1 + 0), so that its own arithmetic makes its scale and shift of these.
        """
        if not self.vectors:
            self.vectors = self.spread * self.weight, wide(self.bias), torch.ones_like(self.spread)
        return self.vectors

    def z(self, part: slice) -> Tensor:
        """The norm's output, in a slice of the batch."""
        x = cut(self.x, part)
        if self.norm.batch:
            scale, shift, one = self.prepared()
            return aten.native_batch_norm(x, scale, shift, self.mean, one, False, 0.0, 0.0)[0]
        given = (self.weight, self.bias, self.mean, self.spread)
        return aten.native_batch_norm(x, *given, False, 0.0, self.norm.eps)[0]

    def zy(self, part: slice, both: bool) -> tuple[Tensor | None, Tensor]:
        """The norm's output and the activation's, in a slice. both: whether the norm's is wanted, too."""
        z, of = self.z(part), self.norm.of
        return (z, FORWARD[of][False](z)) if both and READS_INPUT.get(of) else (None, activated_(of, z))

    def no_sums(self) -> tuple[Tensor, Tensor]:
        """Gradients of scale and shift to which slices are added."""
        like = wide(self.weight)
        return torch.zeros_like(like), torch.zeros_like(like)

    def add_sums(self, gz: Tensor, part: slice, sums: tuple[Tensor, Tensor]) -> None:
        """Add a slice's gradients of scale and shift to those before. gz: the gradient of the norm's output."""
        for total, one in zip(sums, self.stock(gz, cut(self.x, part), [False, True, True])[1:]):
            total.add_(one)

    def stock(self, gz: Tensor, x: Tensor, mask: list[bool]) -> tuple[Tensor, ...]:
        """Gradients of input, scale and shift by the stock kernel; mask: which are wanted."""
        stored = (None, None) if self.norm.batch else (self.mean, self.spread)
        kept = (self.mean, self.spread) if self.norm.batch else (None, None)
        weight = wide(self.weight) if self.norm.batch else self.weight
        return aten.native_batch_norm_backward(gz, x, weight, *stored, *kept, self.norm.batch, self.norm.eps, mask)

    def gradient_(self, gz: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The gradient of the norm's input, written over that of its output. scale, shift: their gradients."""
        if not self.norm.batch:
            zero = torch.zeros_like(self.weight)
            given = (self.weight, zero, zero, self.spread)
            none = gz.new_empty(0)
            aten.native_batch_norm.out(gz, *given, False, 0.0, self.norm.eps, out=gz, save_mean=none, save_invstd=none)
            return gz
        if gz.element_size() < 4:  # in place, each of two steps would round
            self.vectors = ()
            return self.stock(gz, self.x, [True, False, False])[0]
        n = self.x.numel() // self.x.shape[1]
        own, _, one = self.prepared()
        k = (own * self.spread).mul_(scale).mul_(-1 / n)
        c = (own * shift).mul_(-1 / n).addcmul_(k, self.mean, value=-1)
        zero, none = torch.zeros_like(c), gz.new_empty(0)
        k = k[:, None, None]
        for part in slices(gz):
            g, x = cut(gz, part), cut(self.x, part)
            given = (own, c, zero, one)
            aten.native_batch_norm.out(g, *given, False, 0.0, 0.0, out=g, save_mean=none, save_invstd=none)
            g.addcmul_(x, k)
        return gz


class Keeper:
    """In place of a Maker, gives slices of a map that is kept."""

    def __init__(self, remade: Remade) -> None:
        self.x: Tensor = remade.roots[0]
        self.gate = remade.roots[1] if len(remade.roots) > 1 else None

    def zy(self, part: slice, both: bool) -> tuple[None, Tensor]:
        """None, and a slice of the map, which is not to be written into."""
        return None, cut(self.x, part)


class Adder:
    """Makes slices of a sum again: what is itself a sum first, so that at most two slices are there at once."""

    def __init__(self, makers: Sequence[Maker | Keeper | Adder]) -> None:
        self.makers = sorted(makers, key=lambda maker: not isinstance(maker, Adder))
        self.x: Tensor = self.makers[0].x
        self.gate = None

    def zy(self, part: slice, both: bool) -> tuple[None, Tensor]:
        """None, and a slice of the sum."""
        one, other = (whole(maker, part) for maker in self.makers)
        return None, other.add_(one) if isinstance(self.makers[0], Keeper) else one.add_(other)


def whole(maker: Maker | Keeper | Adder, part: slice) -> Tensor:
    """A slice of what a recipe makes, its gate included; a new tensor unless the map is kept and has no gate."""
    _, y = maker.zy(part, False)
    return y if maker.gate is None else scaled(y, cut(maker.gate, part), isinstance(maker, Keeper))


def cut(x: Tensor, part: slice) -> Tensor:
    """A slice of the batch; the tensor itself if that is all of it."""
    return x if part.start == 0 and (part.stop or len(x)) >= len(x) else x[part]


def derived(maker: Maker, g: Tensor, part: slice, out: Tensor | None) -> Tensor:
    """A slice of the gradient of a norm's output, which goes into `out`. g: the gradient of the activation's."""
    of, read = maker.norm.of, None
    if of:
        read = maker.z(part) if READS_INPUT[of] else activated_(of, maker.z(part))
    return BACKWARD[of](g, read, torch.empty_like(g) if out is None else out)
