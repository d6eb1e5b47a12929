"""What a network takes: the sizes of its inputs, whose first axis is the batch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, NamedTuple

from ..errors import CostmodelError
from ..sizes.size import LARGEST, Size, as_int, is_int

CHANNELS = 3  # of images, if nothing says otherwise
#: Bytes of a number, by data types that are no floating-point type.
WHOLE = {"int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}
ALLOWED = "a size of one example without its batch axis, as in 1x40x96, 28x28 or 77:int64"


class Sides(NamedTuple):
    """Height and width of images that are not square, in pixels."""

    height: Size
    width: Size

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


#: A resolution: one side of square images, or both sides of others.
Resolution = int | Sides


@dataclass(frozen=True)
class Input:
    """A tensor that a network takes.

    shape: of one example, without the batch axis. dtype: "" for the network's own data type. keyword: the name by which
    the network takes it, "" by position. example: a tensor whose rows are taken in real runs; None: random numbers, or
    zeros if they are no floating-point numbers.
    """

    shape: tuple[int, ...]
    dtype: str = ""
    keyword: str = ""
    example: Any = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        name, kind = (f"{self.keyword}=" if self.keyword else ""), (f":{self.dtype}" if self.dtype else "")
        return f"{name}{'x'.join(map(str, self.shape)) or 'one number'}{kind}"

    @property
    def bits(self) -> int:
        """Bits per number; 0 stands for the network's own data type."""
        return 8 * WHOLE[self.dtype] if self.dtype else 0


Inputs = tuple[Input, ...]


def images(resolution: Resolution, channels: int = CHANNELS) -> Inputs:
    """The input of a network that takes images alone."""
    height, width = sides_of(resolution)
    return (Input((channels, height, width)),)


def sides_of(resolution: Any) -> tuple[Size, Size]:
    """Height and width of images of a resolution."""
    return resolution if isinstance(resolution, Sides) else (resolution, resolution)


def resolution_of(inputs: Inputs) -> Resolution | None:
    """The resolution of the first input; None unless that is images (channels, height, width)."""
    shape = inputs[0].shape
    if len(shape) != 3 or inputs[0].dtype:
        return None
    return shape[1] if shape[1] == shape[2] else Sides(*shape[1:])


def at_resolution(shape: Sequence[Size], resolution: Any) -> tuple[Size, ...]:
    """The shape of one example of images with other sides; None leaves them."""
    return tuple(shape) if resolution is None else (*shape[:-2], *sides_of(resolution))


def resized(inputs: Inputs, resolution: Resolution | None) -> Inputs:
    """The inputs with images of other sides in the first one; None leaves them. Raises CostmodelError if it is none."""
    if resolution is not None and resolution_of(inputs) is None:
        raise CostmodelError(f"the network takes {', '.join(map(str, inputs))}, no images: give no resolution")
    shape = at_resolution(inputs[0].shape, resolution)
    return inputs if shape == inputs[0].shape else (replace(inputs[0], shape=shape, example=None), *inputs[1:])


def shown_resolution(resolution: Any) -> Any:
    """A resolution for JSON and tables: a number, a text such as 192x256, or None."""
    return str(resolution) if isinstance(resolution, Sides) else resolution


def read_resolution(given: Any) -> Resolution | None:
    """A resolution as people write it: 224, "192x256" or (192, 256). Raises CostmodelError."""
    if given is None:
        return None
    both = re.fullmatch(r"(\d{1,18})(?:x(\d{1,18}))?", given.strip()) if isinstance(given, str) else None
    if both:
        given = (int(both[1]), int(both[2])) if both[2] else int(both[1])
    pair = tuple(map(as_int, given)) if isinstance(given, (tuple, list)) and len(given) == 2 else (as_int(given),) * 2
    if not all(is_int(side) and side >= 1 for side in pair):
        shown = given if isinstance(given, str) else repr(given)
        raise CostmodelError(f"resolution is {shown}; allowed: an integer from 1 to 2^63 - 1, or HEIGHTxWIDTH")
    return pair[0] if pair[0] == pair[1] else Sides(*pair)


def read_inputs(given: Any) -> Inputs:
    """The inputs that people describe: example tensors, whose first axis is the batch, or sizes of one example.

    given: one of them, several in a list, or by keyword in a dict; a size is a tuple of integers or a text as in
    1x40x96 or 77:int64. Raises CostmodelError.
    """
    if isinstance(given, Mapping):
        found = [replace(_read(value), keyword=str(name)) for name, value in given.items()]
    elif isinstance(given, (list, tuple)) and not (given and all(isinstance(side, Integral) for side in given)):
        found = [_read(value) for value in given]
    else:
        found = [_read(given)]
    names = [one.keyword for one in found if one.keyword]
    if len(set(names)) < len(names):
        raise CostmodelError(f"two inputs are called {max(names, key=names.count)!r}; allowed: one of a name")
    if not found:
        raise CostmodelError(f"inputs is {given!r}; allowed: example tensors, or {ALLOWED}")
    return tuple(found)


def _read(given: Any) -> Input:
    if isinstance(given, Input):
        return given
    if isinstance(given, str):
        match = re.fullmatch(r"(?:([^\W\d]\w*)=)?(\d{1,18}(?:x\d{1,18})*)(?::(\w+))?", given.strip())
        if match is not None and re.fullmatch("b?float.*|half|double", match[3] or ""):
            raise CostmodelError(
                f"input is {given!r}; allowed: {match[2]}, since fractions have the network's own data type (--dtype)"
            )
        if match is None or (match[3] or "") not in ("", *WHOLE):
            raise CostmodelError(f"input is {given!r}; allowed: {ALLOWED} ({', '.join(WHOLE)}), or NAME=SIZE")
        one = _checked([int(side) for side in match[2].split("x")], match[3] or "", given)
        return replace(one, keyword=match[1] or "")
    shape, dtype = getattr(given, "shape", None), str(getattr(given, "dtype", "")).removeprefix("torch.")
    if shape is None or not dtype:
        if not isinstance(given, (list, tuple)):
            found = f"a {type(given).__name__}"
            raise CostmodelError(f"an input is {found}; allowed: example tensors, or {ALLOWED}")
        return _checked(list(map(as_int, given)), "", given)
    if not len(shape):
        raise CostmodelError(
            "an input is a tensor without axes; allowed: example tensors whose first axis is the batch"
        )
    if dtype not in WHOLE and "float" not in dtype:
        raise CostmodelError(f"an input is of {dtype}; allowed: floating-point numbers, {', '.join(WHOLE)}")
    one = _checked(list(shape)[1:], dtype if dtype in WHOLE else "", given)
    return replace(one, example=given) if len(given) else one


def _checked(sides: list[Any], dtype: str, given: Any) -> Input:
    if not all(is_int(side) and 1 <= side <= LARGEST for side in sides):
        shown = given if isinstance(given, (str, list, tuple)) else tuple(sides)
        raise CostmodelError(f"input is {shown!r}; allowed: {ALLOWED}, each side from 1 to 2^63 - 1")
    return Input(tuple(sides), dtype)
