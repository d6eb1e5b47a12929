"""Evaluates ops' formulas. `Memo` remembers results, for sweeps whose graphs share ops and shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.op import Extra, Op, Scratch, Work
from ..sizes.by_batch import Line
from ..sizes.size import Shape, Size, nbytes, numel
from ..targets.setting import Setting
from .scratch import scratch_of


class Formulas:
    """Evaluates ops' formulas anew in every call."""

    def images(self, batch: Size, shape: Shape) -> Shape:
        """The shape of a batch of images, or of other inputs. shape: of one."""
        return (batch, *shape)

    def shape(self, op: Op, *xs: Shape) -> Shape:
        """See Op.shape; the other methods likewise."""
        return op.shape(*xs)

    def extras(self, op: Op, *xs: Shape) -> dict[str, Extra]:
        return op.extras(*xs)

    def work(self, op: Op, y: Shape, *xs: Shape) -> dict[str, Work]:
        return op.work(y, *xs)

    def scratch(self, op: Op, setting: Setting, y: Shape, *xs: Shape) -> Scratch:
        return scratch_of(op, setting, y, *xs)

    def storage(self, op: Op, y: Shape, *xs: Shape) -> Shape:
        return op.storage(y, *xs)

    def nbytes(self, shape: Shape, bits: int) -> Size:
        """Bytes of a packed tensor of elements of `bits` bits."""
        return nbytes(numel(shape), bits)

    def once(self, what: str, function: Any, op: Op, how: Any, *xs: Shape) -> Any:
        """What a function makes of an op, of something that can be compared, and of shapes. what: its name."""
        return function(op, how, *xs)


class Memo(Formulas):
    """Evaluates each formula once. Equal ops share results. Shapes are compared by identity: an op that does not change
    the shape returns the same object.
    """

    def __init__(self) -> None:
        self._found: dict[tuple, Any] = {}
        self._names: dict[int, int] = {}  # id of an op -> number of the first equal op
        self._first: dict[Op, int] = {}
        self._alive: list[Any] = []  # objects whose ids are keys
        self.bytes = 0  # bytes of the arrays that are remembered

    def images(self, batch: Size, shape: Shape) -> Shape:
        size = (batch.base, batch.slope) if isinstance(batch, Line) else id(batch)
        key = ("images", size, *(side if isinstance(side, int) else id(side) for side in shape))
        if key not in self._found:
            self._alive.append((batch, shape))
            self._found[key] = super().images(batch, shape)
        return self._found[key]

    def shape(self, op: Op, *xs: Shape) -> Shape:
        return self._once(("shape", self._name(op), *map(id, xs)), op.shape, *xs)

    def extras(self, op: Op, *xs: Shape) -> dict[str, Extra]:
        return self._once(("extras", self._name(op), *map(id, xs)), op.extras, *xs)

    def work(self, op: Op, y: Shape, *xs: Shape) -> dict[str, Work]:
        return self._once(("work", self._name(op), *map(id, xs)), op.work, y, *xs)

    def scratch(self, op: Op, setting: Setting, y: Shape, *xs: Shape) -> Scratch:
        return self._once(("scratch", self._name(op), setting, *map(id, xs)), scratch_of, op, setting, y, *xs)

    def storage(self, op: Op, y: Shape, *xs: Shape) -> Shape:
        return self._once(("storage", self._name(op), *map(id, xs)), op.storage, y, *xs)

    def nbytes(self, shape: Shape, bits: int) -> Size:
        return self._once(("nbytes", id(shape), bits), super().nbytes, shape, bits)

    def once(self, what: str, function: Any, op: Op, how: Any, *xs: Shape) -> Any:
        return self._once((what, self._name(op), how, *map(id, xs)), function, op, how, *xs)

    def _once(self, key: tuple, function: Any, *arguments: Any) -> Any:
        try:
            return self._found[key]
        except KeyError:
            self._alive.append(arguments)
            answer = self._found[key] = function(*arguments)
            for part in answer if isinstance(answer, tuple) else (answer,):
                self.bytes += part.nbytes if isinstance(part, np.ndarray) else 0
            return answer

    def _name(self, op: Op) -> int:
        try:
            return self._names[id(op)]
        except KeyError:
            self._alive.append(op)
            name = self._names[id(op)] = self._first.setdefault(op, len(self._first))
            return name
