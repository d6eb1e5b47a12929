"""Sizes that are linear in the batch, so that one walk prices all batch sizes.

A `Line` is a numpy duck array: formulas written for ints and int64 arrays accept it. Where a result is not linear (a
threshold between two batches, a division with a remainder) it becomes an int64 array over all batches. So results are
always exact; those that are not linear only cost more time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Part = int | np.ndarray  # a line's base or slope: one number, or one for each resolution, shape (R, 1)


class Curved(NamedTuple):
    """A size that is not linear, shape (1 or R, batches), between two lines of the same slope.

    above, below: the bases of the upper and the lower line.
    """

    size: np.ndarray
    above: np.ndarray
    below: np.ndarray
    slope: np.ndarray


class Batches:
    """Batch sizes, ascending and distinct, as first + stride * places; the first place is 0."""

    def __init__(self, values: Sequence[int]) -> None:
        self.values = np.array(values, dtype=np.int64)
        self.first = int(self.values[0])
        self.stride = int(np.gcd.reduce(np.diff(self.values))) if len(self.values) > 1 else 1
        self.places = (self.values - self.first) // self.stride
        self.last = int(self.places[-1])
        self._curved: dict[int, Curved] = {}

    def __len__(self) -> int:
        return len(self.values)

    @property
    def size(self) -> Line:
        """The batch size itself, as a line."""
        return Line(self.first, self.stride, self)

    def curved(self, size: np.ndarray, keep: bool) -> Curved:
        """A nonlinear size with its bounding lines. keep: cache the result as long as this object lives."""
        if id(size) in self._curved:
            return self._curved[id(size)]
        slope = (size[:, -1] - size[:, 0]) // self.last
        rest = size - slope[:, None] * self.places
        found = Curved(size, rest.max(axis=1), rest.min(axis=1), slope)
        if keep:
            self._curved[id(size)] = found
        return found


class Line:
    """The size base + slope * place at every place of `batches`; base and slope may be arrays over resolutions."""

    __slots__ = ("base", "slope", "batches")
    __hash__ = object.__hash__

    def __init__(self, base: Part, slope: Part, batches: Batches) -> None:
        self.base, self.slope, self.batches = base, slope, batches

    def __repr__(self) -> str:
        return f"Line({self.base!r}, {self.slope!r})"

    @property
    def end(self) -> Part:
        """The value at the last batch."""
        return self.base + self.slope * self.batches.last

    def dense(self) -> np.ndarray:
        """The values at every batch, shape (1 or R, batches)."""
        return self.base + self.slope * self.batches.places[None, :]

    def min(self) -> int:
        """The smallest value."""
        return int(self.dense().min())

    def max(self) -> int:
        """The largest value."""
        return int(self.dense().max())

    # Arithmetic. The result is a line where it is linear.

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Line):
            return Line(self.base + other.base, self.slope + other.slope, self.batches)
        return Line(self.base + other, self.slope, self.batches) if self.fits(other) else self.dense() + other

    __radd__ = __add__

    def __neg__(self) -> Line:
        return Line(-self.base, -self.slope, self.batches)

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Line):
            return Line(self.base - other.base, self.slope - other.slope, self.batches)
        return Line(self.base - other, self.slope, self.batches) if self.fits(other) else self.dense() - other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Line):
            return self.dense() * other.dense()
        if self.fits(other):
            return Line(self.base * other, self.slope * other, self.batches)
        return self.dense() * other

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if isinstance(other, int) and not np.any(self.slope % other):
            return Line(self.base // other, self.slope // other, self.batches)
        return self.dense() // dense(other)

    def __rfloordiv__(self, other: Any) -> np.ndarray:
        return other // self.dense()

    def __mod__(self, other: Any) -> Any:
        return self.dense() % dense(other)

    def fits(self, other: Any) -> bool:
        """Whether an operand is the same for all batches: an int, or one number for each resolution."""
        return type(other) is int or isinstance(other, int) or other.ndim == 0 or other.shape[-1] == 1

    # Comparisons: one bool for each resolution if the answer is the same for all batches, else one for each cell.

    def compare(self, other: Any, holds: Callable[[Any, Any], Any]) -> Any:
        difference = self - other
        if isinstance(difference, Line):
            low, high = difference.base, difference.end
            first, last = holds(low, 0), holds(high, 0)
            # A line with the same sign at both ends has it in between: it neither crosses nor meets 0.
            if np.all((first == last) & ((low < 0) == (high < 0)) & ((low > 0) == (high > 0))):
                return np.asarray(first)
            difference = difference.dense()
        return holds(difference, 0)

    def __lt__(self, other: Any) -> Any:
        return self.compare(other, operator.lt)

    def __le__(self, other: Any) -> Any:
        return self.compare(other, operator.le)

    def __gt__(self, other: Any) -> Any:
        return self.compare(other, operator.gt)

    def __ge__(self, other: Any) -> Any:
        return self.compare(other, operator.ge)

    def __eq__(self, other: Any) -> Any:
        return self.compare(other, operator.eq)

    def __ne__(self, other: Any) -> Any:
        return self.compare(other, operator.ne)

    # How numpy's own functions treat lines.

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            return NotImplemented
        a, b = inputs
        if ufunc in (np.maximum, np.minimum):
            above = a - b if ufunc is np.maximum else b - a
            if not isinstance(above, Line):
                return ufunc(dense(a), dense(b))
            low, high = above.base, above.end
            first = (low >= 0) & (high >= 0)
            if np.all(first | (low <= 0) & (high <= 0)):
                return choose(np.asarray(first), a, b, self.batches)
            return ufunc(dense(a), dense(b))
        reflected = {np.add: "__radd__", np.subtract: "__rsub__", np.multiply: "__rmul__",
                     np.floor_divide: "__rfloordiv__", np.greater: "__lt__", np.greater_equal: "__le__",
                     np.less: "__gt__", np.less_equal: "__ge__", np.equal: "__eq__",
                     np.not_equal: "__ne__"}  # fmt: skip
        return getattr(b, reflected[ufunc])(a) if ufunc in reflected else NotImplemented

    def __array_function__(self, function: Callable, types: Any, arguments: Any, options: Any) -> Any:
        if function is not np.where:
            return NotImplemented
        condition, a, b = arguments
        return choose(condition, a, b, self.batches)


def choose(condition: np.ndarray, a: Any, b: Any, batches: Batches) -> Any:
    """`a` where the condition holds, else `b`.

    The result is a line if the condition is the same for all batches, and `a` and `b` are lines or the same for all.
    """
    parts = [part_of(x) for x in (a, b)]
    if None in parts or not (condition.ndim == 0 or condition.shape[-1] == 1):
        return np.where(condition, dense(a), dense(b))
    (a, a_slope), (b, b_slope) = parts
    return Line(np.where(condition, a, b), np.where(condition, a_slope, b_slope), batches)


def part_of(size: Any) -> Any:
    """(base, slope) of a size, or None for an array over batches."""
    if isinstance(size, Line):
        return size.base, size.slope
    return (size, 0) if np.ndim(size) == 0 or size.shape[-1] == 1 else None


def dense(size: Any) -> Any:
    """A size as plain numbers: a line becomes its values at every batch."""
    return size.dense() if isinstance(size, Line) else size
