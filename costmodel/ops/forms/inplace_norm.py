"""In-place activated batch norm: a norm and a leaky ReLU after it overwrite the norm's input, and keep their output.

Rota Bulo, Porzi, Kontschieder, CVPR 2018, arXiv 1712.02616. z = leaky((|weight| + eps) * x^ + bias) can be undone: with
u the leaky ReLU's input, made of z, x^ = (u - bias) / (|weight| + eps). So the backward pass reads z, which the next
layer keeps anyway. The scale's sign is lost, and a network that was trained with other activations computes something
else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.aspects.formula import OF_PARAMETERS
from ...graph.op import Extra, Scratch, Stock, Work, check, op
from ...sizes.size import Shape, maximum, numel
from ...targets.setting import SUM_BYTES, Setting
from ..lean import Place, stands_for
from ..norm import BatchNorm, batch_norm_scratch
from ._formed import LeanOnly

SLOPE = 0.01


@op("inplace_activated_norm")
class InplaceActivatedNorm(LeanOnly, BatchNorm):
    """A batch norm of images and a leaky ReLU, which keep their output alone.

    slope: of the leaky ReLU; 1: there is none. inplace: whether it overwrites its input.
    """

    slope: float = SLOPE
    inplace: bool = True

    form = ("y",)
    in_words = "as its output, overwritten"
    stock = Stock(joint=True, in_python=True)
    is_plain = False  # it has no further lean form

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.dims == 2 and self.affine, "in place activated norms are of images, with scale and shift")
        check(0 < self.slope <= 1, f"slope is {self.slope}; allowed: above 0 and at most 1")

    @property
    def timed_as(self) -> tuple[str, ...]:
        return (*super().timed_as, *(("activation",) if self.slope < 1 else ()))

    def needs(self) -> dict[str, tuple[str, ...]]:
        statistics = "invstd" if self.statistics == "batch" else "running_var"
        bias = ("y",) if self.slope < 1 else ()
        return {"x": ("y", "weight", "bias", statistics), "weight": ("y", "weight", "bias"), "bias": bias}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {**self.needs(), "bias": self.needs()["x"]}  # one function computes all

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {"invstd": Extra((self.channels,), OF_PARAMETERS)}

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        work, n = super().work(y, x), numel(y)
        if self.slope == 1:
            return work
        forward, undone = work["forward"].elementwise + n, work["x"].elementwise + 2 * n
        return {**work, "forward": Work(0, forward), "x": Work(0, undone)}

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        usual = not (setting.layouts or setting.gradient or setting.target.channels_last or setting.casts_parameters)
        return usual and setting.item >= SUM_BYTES and super().modelled(setting, y, x)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        vector, batch = setting.parameter_item * self.channels, self.statistics == "batch"
        recorded = setting._replace(recorded=True)
        forward = batch_norm_scratch(recorded, self.channels, batch, True, y, x).forward
        # The scale's magnitude, and of the statistics what is not kept.
        kept = vector if batch and setting.demanded else 0  # statistics
        forward = forward + vector + (2 * vector - kept if batch else 0)
        number = setting.target.python_number_bytes(setting.parameter_item)  # that is added to the magnitude
        if self.inplace:  # otherwise the output comes later, and is larger
            forward = maximum(forward, vector + number - kept)
        maps = 2 * setting.item * numel(x) if self.slope < 1 else 0  # the leaky ReLU's gradient, and its input
        inner = batch_norm_scratch(setting, self.channels, batch, True, y, x).backward
        vectors = (2 if batch else 3) * vector
        sign = vector if "weight" in setting.demanded else 0  # of the scale, in the end
        added = (1 if batch else 2) * vector + number
        return Scratch(forward, maps + maximum(vectors + maximum(inner, sign), added))

    def module(self, library: Any) -> Callable:
        name = "InplaceActivatedNorm2d" if self.statistics == "batch" else "FrozenInplaceActivatedNorm2d"
        how = {"slope": self.slope, "inplace": self.inplace}
        return getattr(library.lean, name)(self.channels, self.eps, self.momentum, **how)


@stands_for(InplaceActivatedNorm)
def lean_inplace_norm(stock: InplaceActivatedNorm, place: Place) -> None:
    return None  # it is lean itself


InplaceActivatedNorm.examples = (
    (InplaceActivatedNorm(8), (2, 8, 5, 3)),
    (InplaceActivatedNorm(8, slope=1.0), (2, 8, 5, 3)),
    (InplaceActivatedNorm(8, "frozen", inplace=False), (2, 8, 5, 3)),
    (InplaceActivatedNorm(8, "frozen", slope=1.0), (2, 8, 5, 3)),
)
