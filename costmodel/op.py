"""The base class of all ops and their registry. All that is known about an op stands in its one class."""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from typing import AbstractSet, Any, Callable, ClassVar, Dict, Mapping, NamedTuple, Optional, Tuple, Union

from .errors import CostmodelError, unknown
from .layouts import Layout, contiguous, dense
from .size import LARGEST, Shape, Size
from .target import Setting

Pair = Union[int, Tuple[int, int]]
Axes = Tuple[int, ...]


class Extra(NamedTuple):
    """A tensor that an op's forward pass makes beside its output, such as a mask or batch statistics."""

    shape: Shape
    bits: Optional[int] = None  # per element; None: the network's own data type


class Work(NamedTuple):
    """Arithmetic of one formula: multiply-adds of matrix work, and operations of elementwise work."""

    macs: Size = 0
    elementwise: Size = 0


class Op:
    """What one kind of layer computes, keeps and costs. Subclasses are dataclasses that never change; fields are the spec keys.

    Operands are called by name: an input by its name in `inputs`, the output "y", parameters, buffers and extras by
    theirs. A gradient is called by the operand that it is the gradient of: "x", "weight", "bias".
    """

    kind: ClassVar[str]
    inputs: ClassVar[Tuple[str, ...]] = ("x",)
    is_norm: ClassVar[bool] = False
    examples: ClassVar[tuple] = ()  # (op, shape of each input): small cases on which every generic test runs
    #: Stock PyTorch computes all gradients of this op in one backward call, and keeps what any of them reads.
    torch_joint: ClassVar[bool] = False

    #: Bits per element of the output; 0: of the network's own data type.
    bits: ClassVar[int] = 0
    #: Inputs that get no gradient: indices, and those of which only the shape is read.
    shape_only: ClassVar[Tuple[str, ...]] = ()
    #: Why stock PyTorch keeps more of this op than its gradients need, in words after "because".
    torch_excuse: ClassVar[str] = ""
    #: Inputs and parameters whose gradient is the output's gradient itself, no copy.
    passes: ClassVar[Tuple[str, ...]] = ()
    #: Its inputs' gradients are views of the output's: nothing is added into them, what meets them makes a sum.
    gradient_views: ClassVar[bool] = False
    #: The inputs broadcast: the gradient of a smaller one is summed over the output's other axes.
    broadcasts: ClassVar[bool] = False
    #: Its input's gradient comes contiguous, whatever the memory format.
    contiguous_gradient: ClassVar[bool] = False
    #: Its layer is an autograd function in Python, which saves after it has returned; a stock op saves while it runs.
    in_python: ClassVar[bool] = False
    #: Extras that saved-tensor hooks are not shown: a second run of the op does not take them over.
    unseen: ClassVar[Tuple[str, ...]] = ()
    #: Extras that the caller gives, so that the op does not allocate them.
    given: ClassVar[Tuple[str, ...]] = ()

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
        """Check the fields, and bring them into one form."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def _fields(self) -> Tuple[Any, ...]:
        return tuple(map(self.__dict__.__getitem__, self.__match_args__))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._fields() == self._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        named = zip(self.__match_args__, self._fields())
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in named)})"

    @property
    def is_view(self) -> bool:
        """The output is the input seen again (a reshape, a dropout that is off): no storage of its own."""
        return False

    @property
    def is_part(self) -> bool:
        """One of several views made at once, whose gradients are held until the input's is made out of all of them."""
        return False

    @property
    def is_resident(self) -> bool:
        """The output is a parameter or buffer of the network: it is there before the step."""
        return False

    @property
    def is_inplace(self) -> bool:
        """The output overwrites the first input's storage."""
        return getattr(self, "inplace", False)

    def params(self) -> Dict[str, Tuple[int, ...]]:
        """Shapes of the parameters by name."""
        return {}

    def buffers(self) -> Dict[str, Extra]:
        """Tensors that a module of this op holds beside its parameters, by name."""
        return {}

    def shape(self, *xs: Shape) -> Shape:
        """Output shape for the inputs' shapes. Raises CostmodelError where an input does not fit."""
        raise NotImplementedError

    def needs(self) -> Mapping[str, Tuple[str, ...]]:
        """For each gradient, the operands that its formula reads at backward time."""
        raise NotImplementedError

    def torch_needs(self) -> Mapping[str, Tuple[str, ...]]:
        """The same as stock PyTorch's formulas have it (derivatives.yaml), where they read something else."""
        return self.needs()

    def extras(self, *xs: Shape) -> Dict[str, Extra]:
        """The extras by name, for the inputs' shapes."""
        return {}

    def carriers(self) -> Dict[str, str]:
        """Extras that need no storage where the operand named beside them is kept anyway: it tells the same."""
        return {}

    def frozen(self) -> "Op":
        """This op with statistics that do not come from the batch."""
        return self

    def trained(self, names: AbstractSet[str]) -> "Op":
        """This op when, of its parameters, those of these names train."""
        return self

    def evaluated(self) -> "Op":
        """This op in evaluation mode."""
        return self.frozen()

    def saves_late(self, operands: AbstractSet[str]) -> bool:
        """Whether what its autograd node saves last is saved when the output is there: results are, inputs before.

        operands: what the node saves, in the op's words.
        """
        return any(name not in {*self.inputs, *self.params(), *self.buffers()} for name in operands)

    def unfinished(self, setting: Setting, y: Shape, *xs: Shape) -> Size:
        """Bytes needed at its highest, beyond what it saves, by an op that is left once it has saved its inputs."""
        return 0

    @property
    def is_random(self) -> bool:
        """Its forward pass draws random numbers."""
        return False

    def work(self, y: Shape, *xs: Shape) -> Dict[str, Work]:
        """Work of the forward pass ("forward") and of each gradient, for the output's and the inputs' shapes."""
        raise NotImplementedError

    def layout(self, axes: int, *xs: Layout) -> Layout:
        """How the output, of so many axes, lies in memory. xs: of the inputs; those that are broadcast are left out.

        Elementwise ops take after their first input.
        """
        if self.is_view or self.is_inplace:
            return xs[0]
        return next((dense(x) for x in xs if len(x.order) == axes), contiguous(axes))

    def gradient_layout(self, gradient: Layout, y: Layout, x: Layout) -> Layout:
        """How an input's gradient lies, from the output's gradient, the output and the input."""
        if len(gradient.order) != len(x.order):
            return contiguous(len(x.order))
        return gradient if self.passes else dense(gradient)

    def copies_gradient(self, gradient: Layout, y: Shape) -> Any:
        """Whether backward first copies the output's gradient, a node of autograd's own, because it lies so."""
        return False

    def recast(self, setting: Setting) -> Tuple[str, ...]:
        """Parameters whose gradient lies otherwise than they do, so that it is copied on arrival."""
        return ()

    def transients(self, setting: Setting, y: Shape, *xs: Shape) -> Tuple[Size, Size]:
        """Bytes that the op needs at its highest beyond its results, in its forward and its backward pass."""
        return (0, 0)

    @property
    def has_epilogue(self) -> bool:
        """Backward goes on with nodes of the op's own after it has handed on its gradients."""
        return False

    def epilogue(self, setting: Setting, y: Shape, *xs: Shape) -> Size:
        """Bytes of those nodes at their highest, above the level when what the op kept is gone."""
        return 0

    def module(self, library: Any) -> Callable:
        """The stock PyTorch module, or function of the inputs, that this op is; made from costmodel.pytorch.library."""
        raise NotImplementedError

    @classmethod
    def infer(cls, *xs: Shape) -> Dict[str, int]:
        """Fields that a spec may leave out because the inputs' shapes tell them."""
        return {}


OPS: Dict[str, type] = {}


def op(kind: str) -> Callable[[type], type]:
    """Class decorator: makes the class a dataclass, with Op's methods, and registers it as the op called `kind`."""

    def register(cls: type) -> type:
        assert kind not in OPS, f"two ops are called {kind}"
        cls.kind = kind
        # Op has the methods that a dataclass would have compiled for each class: a start costs half as much.
        OPS[kind] = cls = dataclass(init=False, eq=False, repr=False)(cls)
        return cls

    return register


def pair(value: Pair, name: str, least: int = 1) -> Tuple[int, int]:
    """A field that is one int for both axes, or two; raises where one is below `least`."""
    two = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(two) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or v < least for v in two):
        raise CostmodelError(f"{name} is {value!r}; allowed: an integer >= {least}, or two of them")
    return two


def check(condition: bool, message: str) -> None:
    """Raise CostmodelError(message) unless the condition holds: for the fields of an op."""
    if not condition:
        raise CostmodelError(message)


def is_int(value: object) -> bool:
    """An integer that fits in 64 bits; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


# How a spec's value is checked, by the annotation of the field that takes it.
_CHECKS: Dict[str, Tuple[Callable[[Any], bool], str]] = {
    "int": (is_int, "an integer of at most 64 bits"),
    "float": (lambda v: is_int(v) or isinstance(v, float), "a number"),
    "bool": (lambda v: isinstance(v, bool), "true or false"),
    "str": (lambda v: isinstance(v, str), "a text"),
    "Pair": (
        lambda v: is_int(v) or (isinstance(v, (list, tuple)) and len(v) == 2 and all(map(is_int, v))),
        "an integer or a list of two",
    ),
    "Axes": (lambda v: isinstance(v, (list, tuple)) and all(map(is_int, v)), "a list of integers"),
}


def build(kind: str, given: Mapping[str, Any], *xs: Shape) -> Op:
    """The op `kind` with the given fields; what is left out is inferred from the inputs' shapes or its default.

    Raises CostmodelError for an unknown kind or field, a wrong type, a missing field, or values that do not fit.
    """
    if kind not in OPS:
        raise unknown("op", kind, OPS)
    cls = OPS[kind]
    known = {f.name: f for f in fields(cls)}
    for key, value in given.items():
        if key not in known:
            raise unknown(f"key of {kind}", key, known)
        holds, allowed = _CHECKS[known[key].type]
        if not holds(value):
            raise CostmodelError(f"{key} is {value!r}; allowed: {allowed}")
    values = {**(cls.infer(*xs) if xs else {}), **given}
    missing = [name for name, f in known.items() if name not in values and f.default is MISSING]
    if missing:
        raise CostmodelError(f"{kind} lacks {', '.join(map(repr, missing))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
