"""Activations that approach a line on one side by an exponential: ELU and its kin, Softplus, LogSigmoid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Extra, Scratch, check, op
from ..sizes.size import Shape, numel
from ..targets.memory_order import MemoryOrder, contiguous
from ..targets.setting import Setting
from .activation import EXPONENTIAL, Activation, InPlace


@op("elu")
class ELU(Activation):
    """x where x > 0, else alpha * (exp(x) - 1). In place torch's derivative reads the output."""

    timed_as = EXPONENTIAL

    alpha: float = 1.0
    inplace: bool = False

    operations = (3, 3)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("y" if self.alpha >= 0 else "x",)}  # if alpha < 0, y > 0 on both sides of x = 0

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("y" if self.inplace else "x",)}

    def module(self, library: Any) -> Callable:
        return library.nn.ELU(self.alpha, self.inplace)


@op("selu")
class SELU(InPlace):
    """An ELU with fixed alpha and a fixed scale. In place torch's derivative reads the output."""

    timed_as = EXPONENTIAL
    torch_name = "SELU"
    onnx_name = "Selu"
    reads = "y"
    operations = (4, 3)

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("y" if self.inplace else "x",)}


@op("celu")
class CELU(Activation):
    """x where x > 0, else alpha * (exp(x / alpha) - 1). In place torch's derivative reads the output."""

    timed_as = EXPONENTIAL

    alpha: float = 1.0
    inplace: bool = False

    operations = (4, 3)

    def __post_init__(self) -> None:
        check(self.alpha != 0, "alpha is 0; allowed: any other number")

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("y" if self.alpha > 0 else "x",)}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("y" if self.inplace else "x",)}

    def module(self, library: Any) -> Callable:
        return library.nn.CELU(self.alpha, self.inplace)


@op("softplus")
class Softplus(Activation):
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x is above the threshold."""

    timed_as = EXPONENTIAL

    beta: float = 1.0
    threshold: float = 20.0

    operations = (3, 3)

    def module(self, library: Any) -> Callable:
        return library.nn.Softplus(self.beta, self.threshold)


@op("logsigmoid")
class LogSigmoid(Activation):
    """log(sigmoid(x)). On a CPU torch keeps exp(-|x|) beside x."""

    timed_as = EXPONENTIAL
    torch_name = "LogSigmoid"
    torch_inplace = False
    operations = (4, 5)

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return super().modelled(setting, y, x) and not setting.layouts and not setting.channels_last  # copied first

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return {"x": ("x", "buffer")}

    def extras(self, x: Shape) -> dict[str, Extra]:
        return {**super().extras(x), "buffer": Extra(x)}

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return Scratch(0 if setting.recorded else setting.item * numel(x))


Softplus.examples = ((Softplus(), (2, 8, 5, 3)), (Softplus(2.0, 10.0), (2, 9)))
