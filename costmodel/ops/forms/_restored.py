"""Forms from which a map as large as the input is made again, with which the stock kernel computes the gradient."""

from __future__ import annotations

from typing import Any

from ...graph.op import Extra, Scratch, Work, check, shared_fields
from ...sizes.size import Shape, Size, beyond, nbytes, numel
from ...targets.setting import SUM_BYTES, Setting
from .._cast import casts_of
from .._gradients import OwnGradients
from ..linear import Linear
from ._formed import Formed


class Restored(Formed):
    """A layer that keeps its input in a form from which another input is made for the weight's gradient."""

    #: Operations per number of the input that make the form, and that make the input again.
    makes: int
    restores: int

    def made(self, x: Shape) -> dict[str, Extra]:
        """The tensors of the form."""
        raise NotImplementedError

    def making(self, setting: Setting, x: Shape) -> Size:
        """Bytes beside the form while it is made."""
        raise NotImplementedError

    def restoring(self, setting: Setting, x: Shape) -> Size:
        """Bytes beside the new input while that is made."""
        return 0

    def form_bytes(self, setting: Setting, x: Shape) -> Size:
        """Bytes of the form."""
        usual = 8 * setting.item
        return sum(nbytes(numel(extra.shape), extra.bits or usual) for extra in self.made(x).values())

    def extras(self, x: Shape, *_: Shape) -> dict[str, Extra]:
        return {**super().extras(x), **self.made(x)}

    def carriers(self) -> dict[str, str]:
        return dict.fromkeys(self.form, "x")

    def work(self, y: Shape, x: Shape, *_: Shape) -> dict[str, Work]:
        work, n = super().work(y, x), numel(x)
        forward, weight = work["forward"], work["weight"]
        return {
            **work,
            "forward": Work(forward.macs, forward.elementwise + self.makes * n),
            "weight": Work(weight.macs, weight.elementwise + self.restores * n),
        }

    def kernels_of(self, setting: Setting, y: Shape, x: Shape) -> tuple[Size, Size]:
        """Scratch of the stock kernels in the forward and in the backward pass."""
        raise NotImplementedError

    def scratch(self, setting: Setting, y: Shape, x: Shape, *_: Shape) -> Scratch:
        forward, _ = self.kernels_of(setting, y, x)
        cast = casts_of(self, setting, bias=False)  # of the weight
        forward = forward + casts_of(self, setting)
        trains, passes = "weight" in setting.demanded, "x" in setting.demanded
        if trains:
            form = self.form_bytes(setting, x)
            forward = beyond(form, forward, form + self.making(setting, x))
        map_, weight = setting.item * numel(x), setting.parameter_item * numel(self.params()["weight"])
        bias = setting.parameter_item * y[-1 if len(y) == 2 else 1] if "bias" in setting.demanded else 0
        levels = []
        if trains:  # first the weight's gradient, of the input that is made again; then the input's
            _, backward = self.kernels_of(setting._replace(demanded=("weight",)), y, x)
            # A gradient narrower than its weight is cast when kernel and weight's cast are done.
            made = (map_ + cast + cast + backward, map_ + cast + weight) if cast else (map_ + weight + backward,)
            levels += [map_ + self.restoring(setting, x), *made]
        if passes:
            _, backward = self.kernels_of(setting._replace(demanded=("x",)), y, x)
            levels.append(weight * trains + cast + map_ + backward)
        return Scratch(forward, beyond(map_ * passes + weight * trains + bias, *levels))


@shared_fields
class RestoredConv2d(Restored, OwnGradients):
    """A convolution with such a form."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(not self.standardise, "a standardised weight has no such form; allowed: an ordinary one")

    def kernels_of(self, setting: Setting, y: Shape, x: Shape) -> tuple[Size, Size]:
        return self.kernels(setting, y, x)


@shared_fields
class RestoredLinear(Restored, Linear):
    """A linear layer with such a form."""

    parameter_gradient_views = False

    def is_gradient_viewed(self, y: Shape) -> bool:
        return False  # one function makes it

    def __post_init__(self) -> None:
        super().__post_init__()
        check(not self.strided, "a linear layer of strided rows has no such form; allowed: rows without gaps")

    def kernels_of(self, setting: Setting, y: Shape, x: Shape) -> tuple[Size, Size]:
        return setting.target.linear(setting, numel(x[:-1]), x[-1], y[-1])

    def modelled(self, setting: Setting, y: Shape, x: Shape, *_: Shape) -> Any:
        return len(x) == 2 and setting.item >= SUM_BYTES and super().modelled(setting, y, x)
