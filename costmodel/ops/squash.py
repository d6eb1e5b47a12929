"""Activations beside those of mobile networks."""

from __future__ import annotations

from ..graph.op import Work, check, op
from ..sizes.size import numel
from .activation import Activation


@op("tanh")
class Tanh(Activation):
    """tanh(x); dx = g * (1 - y * y)."""

    inplace: bool = False

    torch_name = onnx_name = "Tanh"
    reads = torch_reads = "y"
    operations = (4, 3)

    def module(self, library):
        return library.torch.Tensor.tanh_ if self.inplace else library.nn.Tanh()


@op("hardtanh")
class Hardtanh(Activation):
    """min(max(x, low), high), as torch.nn.Hardtanh and, with `clamp`, torch.clamp."""

    low: float = -1.0
    high: float = 1.0
    inplace: bool = False
    clamp: bool = False

    reads = "mask"
    operations = (2, 1)

    def __post_init__(self):
        check(self.low <= self.high, f"low {self.low} is above high {self.high}")

    @property
    def bounds(self):
        """Those of torch.clamp, which takes None for one that is not there."""
        return tuple(None if abs(bound) >= 1e38 else bound for bound in (self.low, self.high))

    def transients(self, setting, y, x):
        # torch.clamp compares with each bound, and selects from the gradient and a zero.
        compared = sum(bound is not None for bound in self.bounds)
        return (0, compared * numel(x) + setting.item if self.clamp else 0)

    def module(self, library):
        if not self.clamp:
            return library.nn.Hardtanh(self.low, self.high, self.inplace)
        return lambda x: (x.clamp_ if self.inplace else x.clamp)(*self.bounds)


@op("leaky_relu")
class LeakyReLU(Activation):
    """x where x > 0, else slope * x. In place torch's derivative reads the output."""

    slope: float = 0.01
    inplace: bool = False

    reads = "mask"

    def torch_needs(self):
        return {"x": ("y" if self.inplace else "x",)}

    def module(self, library):
        return library.nn.LeakyReLU(self.slope, self.inplace)


@op("elu")
class ELU(Activation):
    """x where x > 0, else alpha * (exp(x) - 1). In place torch's derivative reads the output."""

    alpha: float = 1.0
    inplace: bool = False

    operations = (3, 3)

    def needs(self):
        return {"x": ("y",)}

    def torch_needs(self):
        return {"x": ("y" if self.inplace else "x",)}

    def module(self, library):
        return library.nn.ELU(self.alpha, self.inplace)


@op("mish")
class Mish(Activation):
    """x * tanh(softplus(x))."""

    inplace: bool = False

    torch_name = onnx_name = "Mish"
    operations = (6, 10)


@op("softplus")
class Softplus(Activation):
    """log(1 + exp(x))."""

    operations = (3, 3)

    def module(self, library):
        return library.nn.Softplus()


@op("prelu")
class PReLU(Activation):
    """x where x > 0, else weight * x, with one weight or one per channel."""

    channels: int = 1

    torch_joint = True

    def params(self):
        return {"weight": (self.channels,)}

    def needs(self):
        return {"x": ("x", "weight"), "weight": ("x",)}

    torch_needs = needs

    def work(self, y, x):
        n = numel(y)
        return {"forward": Work(0, 2 * n), "x": Work(0, n), "weight": Work(0, 2 * n)}

    def module(self, library):
        return library.nn.PReLU(self.channels)


for _cls in (Tanh, Hardtanh, LeakyReLU, ELU, Mish):
    _cls.examples = ((_cls(), (2, 8, 5, 3)), (_cls(inplace=True), (3, 7)))
Hardtanh.examples += ((Hardtanh(0.0, 6.0, clamp=True), (2, 9)),)
Softplus.examples = ((Softplus(), (2, 9)),)
PReLU.examples = ((PReLU(8), (2, 8, 5, 3)), (PReLU(), (2, 9)))
