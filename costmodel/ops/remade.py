"""Forms of ops that keep one map per convolution, norm and activation: the norm's input. The others are made again.

costmodel/pytorch/lean/remade.py runs them; the scratch here is of what is written there, line by line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..graph.op import OPS, Casts, Op, Result, Scratch, Stock, Work, check, op, shared_fields
from ..sizes.size import Shape, Size, maximum, numel, where
from ..targets.memory_order import MemoryOrder, dense
from ..targets.setting import SUM_BYTES, Setting
from ._cast import casts_of
from ._gradients import OwnGradients
from .activation import Activation
from .lean_standardised import Standardising
from .norm import BatchNorm, batch_norm_scratch

#: A map is made again in slices along the batch, of at most this much, or of one image.
SLICE_BYTES = 4 << 20
#: Up to so much of a norm's map, the stock kernel makes all gradients in one call, and a map more: that is quicker.
AT_ONCE_BYTES = 1 << 20

#: Before the kind of an activation with MobileTL's backward.
SIGNED = "signed_"
#: Activations that a norm's function does after it: kind -> whether the derivative reads the input, not the output.
READS_INPUT = {"relu": False, "relu6": False, f"{SIGNED}relu6": False, "hardswish": True, "silu": True}
#: Activations whose derivative is made in a new tensor and copied.
COPIED = ("hardswish",)


def images_at_once(batch: Size, image_bytes: Size) -> Size:
    """The images of a slice of a map: as many in each, but fewer in the last where they do not divide the batch."""
    most = maximum(SLICE_BYTES // image_bytes, 1)
    return -(-batch // -(-batch // most))


def images_of(setting: Setting, x: Shape) -> Size:
    """The images of a slice of a map x in a setting."""
    return images_at_once(x[0], setting.item * numel(x[1:]))


def at_once(setting: Setting, x: Shape) -> Any:
    """Whether the stock kernel makes all gradients of a norm of a map x in one call."""
    return (images_of(setting, x) >= x[0]) & (setting.item * numel(x) <= AT_ONCE_BYTES)


def over_slices(setting: Setting, x: Shape, one: Callable[[Size], Size], later: Callable[[Size], Size]) -> Size:
    """The largest of some bytes over the slices of a map x. one, later: in the first, and in all others."""
    step = images_of(setting, x)
    rest = x[0] % step
    second, last = x[0] >= 2 * step, rest > 0
    found = maximum(one(step), where(second, later(step), 0))
    return maximum(found, where(last, later(where(last, rest, step)), 0))


class Unit:
    """Bytes of what the functions of one norm and its activation make, slice by slice. of: the activation's kind."""

    def __init__(self, setting: Setting, channels: int, batch: bool, of: str, x: Shape) -> None:
        self.setting, self.channels, self.batch, self.of, self.x = setting, channels, batch, of, x
        #: Whether the norm's parameters have 16 bits; then copies of 32 are made of them.
        self.narrow = setting.parameter_item < SUM_BYTES
        self.vector = max(setting.parameter_item, SUM_BYTES) * channels
        #: Scale and ones, with copies of mean, deviation and shift, which are alive while slices are made.
        self.held = (5 if self.narrow else 2) * self.vector if batch else 0
        #: Inside the norm's kernel: its folded scale and shift, in float32.
        self.folded = 8 * channels if setting.kernels else 0

    def map(self, images: Size) -> Size:
        """Bytes of a slice of the map."""
        return self.setting.item * images * numel(self.x[1:])

    @property
    def later(self) -> Size:
        """Bytes of the gradients of parameters of 16 bits, which are made of the sums in the end."""
        wanted = len({"weight", "bias"} & {*self.setting.demanded})
        return self.setting.parameter_item * self.channels * wanted if self.narrow else 0

    def making(self, images: Size) -> Size:
        """Bytes beside a slice of the map while the norm's kernel makes it again."""
        return self.folded

    @property
    def adds_sums(self) -> Size:
        """1 where a slice's gradients of scale and shift are added to those before; 0 where one call makes all."""
        return where(at_once(self.setting, self.x), 0, 1)

    @property
    def reads_z(self) -> bool:
        """Whether the derivative reads the norm's output."""
        return READS_INPUT.get(self.of, False)

    def derivative(self, images: Size) -> Size:
        """Bytes beside the gradient while the derivative of a slice is made, with what it reads."""
        if not self.of:
            return 0
        return (2 if self.of in COPIED else 1) * self.map(images)

    def sums(self, images: Size) -> Size:
        """Bytes while a slice's gradients of scale and shift are made, which are added to those before."""
        alone = self.setting._replace(demanded=("weight", "bias"), layouts=(), gradient=None)
        part = (images, *self.x[1:])
        inside = batch_norm_scratch(alone, self.channels, self.batch, True, part, part).backward
        if not self.narrow:
            return 2 * self.vector + inside
        return (3 * self.vector if self.batch else self.vector) + inside  # with a copy of the scale; of 16 bits each

    def stock(self, y: Shape, maps: int, as_it_came: bool = False) -> Size:
        """Bytes while the stock kernel makes all gradients at once.

        maps: of the gradients, beside results. as_it_came: the gradient may lie otherwise than the norm's input.
        """
        setting = self.setting if as_it_came else self.setting._replace(layouts=())
        inside = batch_norm_scratch(setting, self.channels, self.batch, True, y, self.x).backward
        if not (self.narrow and self.batch):  # with stored statistics the kernel computes in the parameters' own bits
            return maps * self.map(self.x[0]) + inside
        copies = 3 + len({"weight", "bias"} & {*self.setting.demanded})
        # In the end those of parameters of 16 bits are made, when the copy of the scale is gone.
        return copies * self.vector + maps * self.map(self.x[0]) + maximum(inside - self.later, -self.vector)

    @property
    def last(self) -> Size:
        """Bytes while the gradient of the norm's input is made in place; of 16 bits, in a new tensor."""
        if not self.batch:
            return self.setting.parameter_item * self.channels + self.folded  # a shift of zeros
        if self.setting.item >= SUM_BYTES:
            return 5 * self.vector + self.folded
        gradient = self.setting._replace(demanded=("x",), layouts=(), gradient=None)
        inside = batch_norm_scratch(gradient, self.channels, True, True, self.x, self.x).backward
        return (3 if self.narrow else 0) * self.vector + self.map(self.x[0]) + inside


@shared_fields
class Remade(Op):
    """What the forms of norms share that do the work of the activation after them, and keep their input alone.

    of: the activation's kind, "" for none. owns: it overwrites its output's gradient (see Place). finished: the
    convolution that reads its output does its backward pass down to the gradient of the norm's own output.
    """

    of: str = ""
    owns: bool = False
    finished: bool = False

    stock = Stock(joint=True, in_python=True)
    #: Operations per element that make the norm's output again.
    again: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check(not self.of or self.of in READS_INPUT, f"of is {self.of!r}; allowed: '', {', '.join(READS_INPUT)}")

    @property
    def timed_as(self) -> tuple[str, ...]:
        return (*super().timed_as, *(OPS[self.of.removeprefix(SIGNED)].timed_as if self.of else ()))

    @property
    def passes(self) -> tuple[str, ...]:
        return ("x",) if self.owns or self.finished else ()

    @property
    def runs_alone(self) -> bool:
        # If it owns the gradient, its result takes that one's place, whichever is the newer tensor.
        return not (self.finished or self.owns)

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return dense(x)

    def work(self, y: Shape, *xs: Shape) -> dict[str, Work]:
        n, activation = numel(y), work_of_activation(self.of)
        work = super().work(y, *xs)
        gradient = "x" if "x" in work else "bias"
        done = {"forward": activation[0], gradient: activation[1]}
        return {name: Work(0, one.elementwise + done.get(name, 0) * n) for name, one in work.items()}

    def work_again(self, y: Shape, *xs: Shape) -> Size:
        if self.finished or not self.of:
            return 0
        return (self.again + (0 if READS_INPUT[self.of] else work_of_activation(self.of)[0])) * numel(y)


@op("remade_norm")
class RemadeNorm(Remade, BatchNorm):
    """A batch norm of images, with the activation after it, that keeps its input alone."""

    def needs(self) -> dict[str, tuple[str, ...]]:
        batch = self.statistics == "batch"
        read = ("x", "mean", "invstd", "weight") if batch else ("x", "running_mean", "running_var", "weight")
        return dict.fromkeys(("x", "weight", "bias"), read)

    torch_needs = needs

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return setting.item >= SUM_BYTES and super().modelled(setting, y, x)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        batch = self.statistics == "batch"
        forward = batch_norm_scratch(setting, self.channels, batch, True, y, x).forward
        unit = Unit(setting, self.channels, batch, self.of, x)
        # Statistics of 16 bits that a second run unpacked are freed when they have been copied.
        freed = 2 * setting.parameter_item * self.channels if batch and unit.narrow and setting.summed_late else 0
        return Scratch(forward, self.backward_bytes(setting, unit, y, x) - freed)

    def backward_bytes(self, setting: Setting, unit: Unit, y: Shape, x: Shape) -> Size:
        """Bytes of the backward pass beside its results. unit: of this norm."""
        of_parameters = 0 if unit.narrow else ("weight" in setting.demanded) + ("bias" in setting.demanded)
        sums = unit.vector * (2 - of_parameters)  # those that are no gradients of parameters themselves
        last = sums + unit.last if "x" in setting.demanded else 0
        if not (self.of or self.owns or self.finished):
            return unit.stock(y, 0, as_it_came=True)
        # Of the norm's output, or of its input where that is written over another gradient.
        maps = "x" in setting.demanded or not (self.owns or self.finished)
        whole, stock = at_once(setting, x), unit.stock(y, maps)
        if self.finished:
            return where(whole, stock, maximum(last - unit.later, sums + unit.held))

        def own(images: Size) -> Size:
            return 0 if self.owns or "x" in setting.demanded else unit.map(images)  # a gradient that nobody wants

        def derived(images: Size) -> Size:
            made = unit.map(images) + unit.folded if self.of else 0
            return maximum(made, own(images) + unit.derivative(images))

        def one(images: Size) -> Size:
            return unit.held + sums + maximum(derived(images), own(images) + unit.sums(images))

        # The stock kernel has not made the gradients of scale and shift yet.
        later = setting.parameter_item * self.channels * len({"weight", "bias"} & {*setting.demanded})
        first = unit.held * bool(self.of) + derived(x[0]) - later
        by_slices = maximum(over_slices(setting, x, one, one), last) - unit.later
        return where(whole, maximum(first, stock), maximum(by_slices, sums + unit.held))

    def module(self, library: Any) -> Callable:
        name = "RemadeNorm2d" if self.statistics == "batch" else "FrozenRemadeNorm2d"
        how = {"of": self.of, "owns_gradient": self.owns}
        return getattr(library.lean, name)(self.channels, self.eps, self.momentum, **how)


def done_by_norms(op: Op) -> str:
    """The kind under which a norm's function does an op; "" if it does not. ReLU's two backwards are the same."""
    if not isinstance(op, Activation):
        return ""
    kind = SIGNED + op.kind if op.signed and op.kind != "relu" else op.kind
    return kind if kind in READS_INPUT else ""


def work_of_activation(kind: str) -> tuple[int, int]:
    """Operations per element of an activation: forward, backward."""
    found = OPS.get(kind.removeprefix(SIGNED))
    return found.operations if found and issubclass(found, Activation) else (0, 0)


@op("passed_activation")
class PassedActivation(Activation):
    """An activation that returns its input, since the norm before it does its work. of: its kind."""

    of: str

    result = Result.VIEW
    passes = ("x",)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ()}

    torch_needs = needs

    def carriers(self) -> dict[str, str]:
        return {}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return {"forward": Work(), "x": Work()}

    def module(self, library: Any) -> Callable:
        return library.lean.Passed()


@op("remaking_conv2d")
class RemakingConv2d(OwnGradients):
    """A convolution that keeps what its input is made again from.

    of, batch: of the norm that makes the input: its activation's kind, and whether it takes the batch's statistics.
    norms, others: that is made of so many norms' results, by so many sums and products with noise.
    gated: a product with a gate is between. kept: the map in that product is kept itself. finishes: "norm" or "gate":
    whose backward pass it does a part of. drops: its output is made again by the first that reads it backward.
    """

    of: str = ""
    batch: bool = True
    norms: int = 1
    others: int = 0
    gated: bool = False
    kept: bool = False
    finishes: str = ""
    drops: bool = False

    casts = Casts.INSIDE
    examples = ()  # it does not run alone
    stock = Stock(joint=True, in_python=True)
    has_epilogue = False
    again: ClassVar[int] = Remade.again

    @property
    def runs_alone(self) -> bool:
        return False

    def saves_late(self, operands: Any) -> bool:
        return True

    def work_again(self, y: Shape, x: Shape) -> Size:
        return self.work_on_input(y, x) + self.standardising

    def work_on_input(self, y: Shape, x: Shape) -> Size:
        of_norm = 0 if self.kept else self.again * self.norms + work_of_activation(self.of)[0]
        return (of_norm + self.others + self.gated) * numel(x)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        if setting.item < SUM_BYTES or setting.layouts:
            return False
        step = images_of(setting, x)
        rest = x[0] % step
        parts = [(images, *x[1:]) for images in (x[0], step, where(rest > 0, rest, step))]
        found = [super(RemakingConv2d, self).modelled(setting, (part[0], *y[1:]), part) for part in parts]
        return found[0] & found[1] & found[2]

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        forward = self.kernels(setting, y, x)[0]
        unit, standardising = self.unit(setting, x), Standardising.of(self, setting)
        forward = standardising.forward(forward, setting, y)
        several = images_of(setting, x) < x[0]
        by_norm, by_gate = self.finishes == "norm", self.finishes == "gate"
        summed = unit.adds_sums * by_norm  # whether the norm's sums are made here
        held = self.norms * unit.held + 2 * unit.vector * summed + standardising.held
        held = held + casts_of(self, setting, bias=False)
        if by_gate:
            held = held + setting.item * x[0] * self.in_channels  # the gate's gradient
        weights = setting.item * numel(self.params()["weight"]) * ("weight" in setting.demanded)
        weights = weights + setting.item * self.out_channels * ("bias" in setting.demanded)
        # Of other numbers than the parameters are, each slice's are added to zeros, which are there from the start.
        made_late, first = (0, weights) if setting.casts_parameters else (weights, 0)

        def one(images: Size, more: Size = 0) -> Size:
            """more: of the gradients of weights from a slice, which are added to those before."""
            part = unit.map(images)
            inside = self.kernels(setting, (images, *y[1:]), (images, *x[1:]))[1]
            maps = 2 if by_norm and unit.reads_z or by_gate and not self.kept else 1
            beside = where(several, part, 0)  # the slice's gradient, which is no result then
            call = maps * part + beside + inside + more
            # What is made before the gradients are: in one slice they are not there yet.
            several_made = part * (self.norms > 1)  # beside that of the last norm
            before = maximum(maps * part, part + several_made + unit.making(images) * (not self.kept))
            before = before - where(several, 0, part + made_late)
            after = 0
            if by_norm:
                after = maximum(unit.derivative(images) + beside, summed * unit.sums(images))
            elif by_gate:
                after = maps * part + beside + setting.item * images * self.in_channels
            return maximum(maximum(call, after), before)

        found = over_slices(setting, x, lambda images: one(images, first), lambda images: one(images, weights))
        backward = held + maximum(found, standardising.beside)
        if not self.drops:
            return Scratch(forward, backward)
        made = 0 if self.kept and not self.gated else unit.map(x[0])
        # The norms are at work before the output is there.
        norm = 0 if self.kept else self.norms * unit.held + unit.making(x[0]) + made * (self.norms > 1)
        return Scratch(forward, backward, again=made + maximum(forward, norm - setting.item * numel(y)))

    def unit(self, setting: Setting, x: Shape) -> Unit:
        """Bytes of what the norm is made again with."""
        return Unit(setting, self.in_channels, self.batch, self.of, x)

    def module(self, library: Any) -> Callable:
        name = "RemakingStandardisedConv2d" if self.standardises else "RemakingConv2d"
        return getattr(library.lean, name)(*self.arguments(), finishes=self.finishes, drops=self.drops)


RemadeNorm.examples = (
    (RemadeNorm(8), (2, 8, 5, 3)),
    (RemadeNorm(8, of="hardswish"), (2, 8, 5, 3)),
    (RemadeNorm(8, "frozen", of="relu6"), (2, 8, 5, 3)),
)
PassedActivation.examples = ((PassedActivation("relu6"), (2, 8, 5, 3)),)
