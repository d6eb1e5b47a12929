"""Recipes: how a tensor that is not kept is made again in the backward pass. A recipe travels on its tensor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .casting import convolved, like
from .makers import Adder, GroupMaker, Keeper, Maker, Norm, whole
from .weights import Standardised

if TYPE_CHECKING:
    from typing_extensions import Self


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


class Recipe:
    """How a tensor is made again. It travels on the tensor, and is lost if somebody writes into that."""

    @property
    def tensors(self) -> tuple[Any, ...]:
        """All that autograd has to keep."""
        raise NotImplementedError

    def filled(self, tensors: Sequence[Any]) -> Self:
        """The same recipe with tensors in the places of its own."""
        raise NotImplementedError

    @cached_property
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
        return Keeper(self.roots) if self.norm is None else self.norm_maker()

    def norm_maker(self, is_last: bool = False) -> Maker:
        """What makes slices of a norm's result. is_last: it is the last that asks for the norm's input."""
        assert self.norm is not None
        x = self.source.output(is_last) if self.source else self.roots[0]
        return (GroupMaker if self.norm.groups else Maker)(self.norm, (x, *self.roots[1:]))


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

    options: stride, padding, dilation, groups. standardises: whether the weight is standardised. remade: of the
    convolution's input. made: the output, while it is there.
    """

    def __init__(
        self,
        options: tuple,
        standardises: bool,
        remade: Remade | Sum,
        parameters: Sequence[Any],
        made: list[Tensor] | None = None,
    ) -> None:
        self.options, self.standardises, self.remade, self.parameters = options, standardises, remade, tuple(parameters)
        self.made: list[Tensor] = [] if made is None else made

    @property
    def tensors(self) -> tuple[Any, ...]:
        return self.parameters + self.remade.tensors

    def filled(self, tensors: Sequence[Any]) -> Source:
        return Source(self.options, self.standardises, self.remade.filled(tensors[2:]), tensors[:2], self.made)

    def output(self, is_last: bool) -> Tensor:
        """The convolution's output. is_last: nobody will ask for it again."""
        if not self.made:
            x, (weight, bias) = whole(self.remade.maker(), slice(0, None)), self.parameters
            weight = like(x, Standardised.of(weight).weight) if self.standardises else weight
            self.made.append(convolved(x, weight, bias, self.options))
        return self.made.pop() if is_last else self.made[0]


def dropped(y: Tensor, conv: nn.Conv2d, remade: Remade | Sum) -> Tensor:
    """A convolution's output, which is to be made again. remade: how its input is."""
    options = (conv.stride, conv.padding, conv.dilation, conv.groups)
    return Source(options, getattr(conv, "standardises", False), remade, (conv.weight, conv.bias)).on(y)


def recipe_of(y: Tensor) -> Remade | Sum | None:
    """How slices of a tensor are made again; None if it is not known, or if somebody has written into the tensor."""
    recipe = _recipe(y)
    return recipe if isinstance(recipe, (Remade, Sum)) else None


def source_of(x: Tensor) -> Source | None:
    """How a convolution's output that is dropped is made again; None if it is kept."""
    recipe = _recipe(x)
    return recipe if isinstance(recipe, Source) else None


def _recipe(y: Tensor) -> Any:
    recipe, version = getattr(y, "recipe", (None, 0))
    return recipe if recipe is not None and version == y._version else None
