"""The base class of all ops, and their registry. An op's class holds everything that is known about the op."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..errors import CostmodelError, unknown
from ..sizes.size import Shape, is_int, show
from .aspects.autograd import Result, Stock
from .aspects.formula import Extra, Work
from .aspects.kernels import Kernels, Scratch
from .aspects.memory_format import MemoryFormat
from .aspects.mixed_precision import Casts, MixedPrecision
from .aspects.timing import Timing

__all__ = [
    "OPS", "Axes", "Casts", "Extra", "Factors", "Op", "Pair", "Result", "Scratch", "Sizes", "Stock", "Work", "build",
    "check", "op", "pair", "shared_fields", "two",
]  # fmt: skip

Pair = int | tuple[int, int]
Axes = tuple[int, ...]
Sizes = tuple[int, ...]  # of a tensor
Factors = tuple[float, ...]
SomeClass = TypeVar("SomeClass", bound="type[Op]")

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # in typing since Python 3.11

    def dataclass_transform(**_: Any) -> Callable[[Any], Any]:
        return lambda decorator: decorator


class Op(MemoryFormat, Kernels, MixedPrecision, Timing):
    """One kind of layer. Subclasses are immutable dataclasses; their fields are the keys of a spec.

    This class has an op's name, fields, equality and module. The six aspects say what the op computes, what autograd
    keeps of it, what its kernels allocate and how long they take, in which memory order its tensors are, and in which
    data type it runs.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    __match_args__: ClassVar[tuple[str, ...]]

    kind: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    #: Inputs that get no gradient: masks, indices, and inputs that are read only for their shape.
    shape_only: ClassVar[tuple[str, ...]] = ()
    #: Bits per element of the inputs that are no numbers: masks, indices.
    input_bits: ClassVar[dict[str, int]] = {}
    #: Whether it stands for further layers: what it reads is no result of the network.
    is_stand_in: ClassVar[bool] = False
    examples: ClassVar[tuple[Any, ...]] = ()  # (op, shape of each input): small cases on which every generic test runs

    def __init__(self, *args: Any, **named: Any) -> None:
        names, known = self.__match_args__, self.__dataclass_fields__
        given = {**dict(zip(names, args)), **named}
        if len(args) > len(names) or len(given) < len(args) + len(named) or not given.keys() <= set(names):
            raise TypeError(f"{type(self).__name__} takes {', '.join(names) or 'nothing'}, found {args} and {named}")
        for name in names:
            value = given.get(name, known[name].default)
            if value is MISSING:
                raise TypeError(f"{type(self).__name__} lacks {name!r}")
            self.__dict__[name] = value
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields, and convert them to their canonical form. Raises CostmodelError for a bad field."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def _fields(self) -> tuple[Any, ...]:
        return tuple(map(self.__dict__.__getitem__, self.__match_args__))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._fields() == self._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        named = zip(self.__match_args__, self._fields())
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in named)})"

    @property
    def runs_alone(self) -> bool:
        """Whether a call of the op alone does what it does in a graph, and does not read what another op leaves it."""
        return True

    def module(self, library: Any) -> Callable:
        """The stock PyTorch module for this op, or a function of its inputs. library: costmodel.pytorch.library."""
        raise NotImplementedError

    @classmethod
    def infer(cls, *xs: Shape) -> dict[str, int]:
        """Fields that a spec may leave out because they follow from the inputs' shapes."""
        return {}


OPS: dict[str, type[Op]] = {}


@dataclass_transform(frozen_default=True, eq_default=False)
def shared_fields(cls: SomeClass) -> SomeClass:
    """Class decorator for a base class of several ops: declares its fields."""
    dataclass(init=False, eq=False, repr=False)(cls)
    return cls


@dataclass_transform(frozen_default=True, eq_default=False)
def op(kind: str) -> Callable[[SomeClass], SomeClass]:
    """Class decorator: makes the class a dataclass with Op's methods, and registers it as the op called `kind`."""

    def register(cls: SomeClass) -> SomeClass:
        assert kind not in OPS, f"two ops are called {kind}"
        cls.kind = kind
        # Op has the methods that dataclass would compile anew for each class: this halves the time of the import.
        OPS[kind] = shared_fields(cls)
        return cls

    return register


def pair(value: Pair, name: str, least: int = 1) -> tuple[int, int]:
    """The two ints of a field given as one int for both axes, or as two. Raises CostmodelError if one is < `least`."""
    two = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(two) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or v < least for v in two):
        raise CostmodelError(f"{name} is {value!r}; allowed: an integer >= {least}, or two of them")
    return two


def two(value: Pair) -> tuple[int, int]:
    """A field that `pair` has brought into its form, as the two ints that it is."""
    assert isinstance(value, tuple)
    return value


def check(condition: bool, message: str) -> None:
    """Raise CostmodelError(message) unless the condition holds. Used for the fields of an op."""
    if not condition:
        raise CostmodelError(message)


# How a spec's value is checked, by the annotation of its field: (test, what is allowed).
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (is_int, "an integer of at most 64 bits"),
    "float": (lambda v: is_int(v) or isinstance(v, float), "a number"),
    "float | None": (lambda v: v is None or is_int(v) or isinstance(v, float), "a number or null"),
    "bool": (lambda v: isinstance(v, bool), "true or false"),
    "str": (lambda v: isinstance(v, str), "a text"),
    "Pair": (
        lambda v: is_int(v) or (isinstance(v, (list, tuple)) and len(v) == 2 and all(map(is_int, v))),
        "an integer or a list of two",
    ),
    "Factors": (
        lambda v: isinstance(v, (list, tuple)) and all(is_int(n) or isinstance(n, float) for n in v),
        "a list of numbers",
    ),
    "Sizes": (
        lambda v: isinstance(v, (list, tuple)) and all(is_int(n) and n >= 0 for n in v),
        "a list of integers >= 0",
    ),
    "Axes": (lambda v: isinstance(v, (list, tuple)) and all(map(is_int, v)), "a list of integers"),
}


def build(kind: str, given: Mapping[str, Any], *xs: Shape) -> Op:
    """The op `kind` with the given fields; others are inferred from the inputs' shapes `xs` or have their default.

    Raises CostmodelError for an unknown kind or field, a wrong type, a missing field, or values that do not fit.
    """
    if kind not in OPS:
        raise unknown("op", kind, OPS)
    cls = OPS[kind]
    known = {f.name: f for f in fields(cls)}
    for key, value in given.items():
        if key not in known:
            raise unknown(f"key of {kind}", key, known)
        holds, allowed = _CHECKS[str(known[key].type)]
        if not holds(value):
            raise CostmodelError(f"{key} is {value!r}; allowed: {allowed}")
    if xs and isinstance(cls.inputs, tuple) and len(xs) != len(cls.inputs):  # a property: it depends on the fields
        raise CostmodelError(f"{len(xs)} inputs; {kind} takes {len(cls.inputs)}")
    try:
        values = {**(cls.infer(*xs) if xs else {}), **given}
    except IndexError:
        raise CostmodelError(f"an input of shape {show(xs[0])} has too few axes for {kind}") from None
    missing = [name for name, f in known.items() if name not in values and f.default is MISSING]
    if missing:
        raise CostmodelError(f"{kind} lacks {', '.join(map(repr, missing))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
