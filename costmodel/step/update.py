"""What an optimizer makes and frees while it updates parameters, and the highest level of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from ..errors import CostmodelError
from ..sizes.size import Size, maximum
from ..targets.target import Target

COUNT_BYTES = 4  # of a step count, which is float32 whatever the parameters are

MADE, FREED, REPLACED, PASSED = "made", "freed", "replaced", "passed"


class Move(NamedTuple):
    """One thing that an update does for each parameter.

    verb: MADE is a tensor of the parameter's shape and type, which stays; FREED is one that was made before; REPLACED
    is the one of that name that the parameter before has left; PASSED is a number of NUMBERS, made and freed at once.
    what: its name, which says what it is for.
    """

    verb: str
    what: str


made, freed, replaced = partial(Move, MADE), partial(Move, FREED), partial(Move, REPLACED)

#: Numbers beside tensors by name: the bytes of each, for a target and for the bytes of a number of the parameters. Of a
#: loop in Python, Python makes the number and hands it to the op; `foreach` and `fused` make it within the op.
NUMBERS: dict[str, Callable[[Target, int], int]] = {
    "a number and its tensor": lambda target, item: target.python_number_bytes(item),
    "a number beside a count": lambda target, item: target.python_number_bytes(COUNT_BYTES),
    "a number within the op": lambda target, item: target.number_bytes(item),
    "a number beside a count within the op": lambda target, item: target.number_bytes(COUNT_BYTES),
    # A tensor on the CPU, which counts where Python's numbers do.
    "one, as a tensor": lambda target, item: min(COUNT_BYTES, target.python_number_bytes(COUNT_BYTES)),
}
NUMBER, COUNT, INNER_NUMBER, INNER_COUNT, ONE = (Move(PASSED, name) for name in NUMBERS)

Parameter = TypeVar("Parameter")


def numbers_of(target: Target, item: int) -> dict[str, int]:
    """Bytes of each of NUMBERS. item: bytes of a number of the parameters' data type."""
    return {name: nbytes(target, item) for name, nbytes in NUMBERS.items()}


class Update(NamedTuple):
    """How parameters are updated: the moves for each of them in turn or, if together, for all of one data type.

    at_once: each within the backward pass, as soon as its gradient is complete, which is then freed.
    """

    moves: tuple[Move, ...] = ()
    together: bool = False
    at_once: bool = False

    def turns(self, parameters: Sequence[Parameter], dtypes: Sequence[str] = ()) -> list[tuple[Parameter, ...]]:
        """The parameters, in turns: the moves run once for each turn. dtypes: their data types, if there are several.

        Raises CostmodelError where it matters in which order torch takes more than two data types: a hash decides.
        """
        if not self.together or self.at_once:
            return [(one,) for one in parameters]
        groups: dict[str, list[Parameter]] = {}
        for one, dtype in zip(parameters, dtypes or [""] * len(parameters)):
            groups.setdefault(dtype, []).append(one)
        if self.overlaps and len(groups) > 2:
            types = ", ".join(groups)
            raise CostmodelError(f"no rule tells in which order foreach updates {types}; allowed: two data types")
        return [tuple(group) for group in reversed(groups.values())]  # torch takes the first type last

    @property
    def overlaps(self) -> bool:
        """Whether tensors that one parameter leaves are alive while the next one is updated."""
        return not self.at_once and any(move.verb == REPLACED for move in self.moves)

    def peak(self, sizes: Sequence[Size], numbers: Mapping[str, int]) -> Size:
        """Peak bytes of an update in turns of these bytes. numbers: bytes of each of NUMBERS."""
        level = highest = 0
        left: dict[str, Size] = {}
        for size in sizes:
            before, left = left, {}
            for verb, what in self.moves:
                if verb == PASSED:
                    highest = maximum(highest, level + numbers[what])
                elif verb == MADE:
                    left[what] = size
                    level = level + size
                    highest = maximum(highest, level)
                else:
                    level = level - (left if verb == FREED else before).pop(what, 0)
        return highest
