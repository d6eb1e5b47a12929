"""What an op computes: shapes, needs and arithmetic, by mathematics alone.

Words:
- An operand is an input, named as in `inputs`, the output, named "y", or a parameter, buffer or extra, by its own name.
- An extra is a tensor that the forward pass makes besides the output: a mask, say, or batch statistics.
- A gradient has the name of its operand: "x", "weight", "bias".
- A gradient needs the operands that its formula reads at backward time.
- A carrier is an operand from which an extra can be recovered, so that the extra needs no storage of its own.
- Statistics are frozen if a norm uses stored ones in place of the batch's.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import ClassVar, NamedTuple, TypeVar

from ...sizes.size import Shape, Size

SomeOp = TypeVar("SomeOp", bound="Formula")


#: Bits of an extra that has the data type of the op's parameters, which need not be that of its output.
OF_PARAMETERS = -1


class Extra(NamedTuple):
    """A tensor that an op's forward pass makes besides its output, such as a mask or batch statistics."""

    shape: Shape
    bits: int | None = None  # per element; None: as the op's output has, OF_PARAMETERS: as its parameters have


class Work(NamedTuple):
    """Arithmetic of one formula: multiply-adds of matrix work, operations of elementwise work."""

    macs: Size = 0
    elementwise: Size = 0


class Formula:
    """The hooks for what an op computes."""

    inputs: ClassVar[tuple[str, ...]]
    #: The inputs that stand for parameters of the layer, and are made of them.
    given: ClassVar[tuple[str, ...]] = ()
    #: The extras that are made of parameters alone.
    of_parameters: ClassVar[tuple[str, ...]] = ()

    #: Whether gradients go through the op: not through a comparison.
    differentiable: ClassVar[bool] = True
    is_norm: ClassVar[bool] = False
    #: The output's grid of pixels: the "same" as the input's, "strided" by the field `stride`, or "none": not a map.
    grid: ClassVar[str] = "same"
    #: Bits per element of the output; 0 stands for the network's own data type.
    bits: int = 0

    def shape(self, *xs: Shape) -> Shape:
        """Output shape for the inputs' shapes. Raises CostmodelError if an input does not fit."""
        raise NotImplementedError

    def params(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters by name."""
        return {}

    def buffers(self) -> dict[str, Extra]:
        """Shapes and bits of the buffers by name: tensors that a module of this op holds besides its parameters."""
        return {}

    def extras(self, *xs: Shape) -> dict[str, Extra]:
        """The extras by name, for the inputs' shapes."""
        return {}

    def needs(self) -> Mapping[str, tuple[str, ...]]:
        """For each gradient, the operands that its formula reads at backward time."""
        raise NotImplementedError

    def carriers(self) -> dict[str, str]:
        """Extra -> its carrier, for extras that have one. If the carrier is kept anyway, the extra is not."""
        return {}

    def work(self, y: Shape, *xs: Shape) -> dict[str, Work]:
        """Work of the forward pass ("forward") and of each gradient. y, xs: shapes of the output and the inputs."""
        raise NotImplementedError

    def work_again(self, y: Shape, *xs: Shape) -> Size:
        """Elementwise operations of the backward pass that make again what is not kept. y, xs: as for `work`."""
        return 0

    def work_on_input(self, y: Shape, *xs: Shape) -> Size:
        """Elementwise operations that make its input again, if that is not kept. y, xs: as for `work`."""
        return 0

    @property
    def is_random(self) -> bool:
        """Whether the forward pass draws random numbers."""
        return False

    def frozen(self: SomeOp) -> SomeOp:
        """This op with frozen statistics."""
        return self

    def trained(self: SomeOp, names: Set[str]) -> SomeOp:
        """This op when exactly these parameters of it train."""
        return self

    def evaluated(self: SomeOp) -> SomeOp:
        """This op in evaluation mode."""
        return self.frozen()
