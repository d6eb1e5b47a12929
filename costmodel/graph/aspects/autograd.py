"""What PyTorch's autograd does with an op: what it saves and when, and which gradients share memory.

Words:
- An op's output is a new tensor unless it shares existing memory (see `Result`).
- An op saves an operand when its autograd node keeps it until the op's backward has run.
- Stock PyTorch means torch.nn and torch.nn.functional. Their gradients' formulas are in derivatives.yaml.
- An op passes a gradient if it returns the output's gradient itself, without a copy, as the gradient of an input or
  parameter: an addition passes its output's gradient to both inputs.
- Saved-tensor hooks (torch.autograd.graph.saved_tensors_hooks) see most of what is saved; torch.utils.checkpoint is
  built on them.
- The second run of a block (torch.utils.checkpoint) stops as soon as everything has been saved again.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import Enum
from typing import ClassVar, NamedTuple

from ...sizes.size import Shape
from .formula import Formula, SomeOp


class Result(Enum):
    """Whose memory an op's output uses."""

    NEW = "a new tensor"
    VIEW = "a view of the input: a reshape, a dropout that is off"
    #: The input's gradient is assembled from the gradients of all pieces, which are held until then.
    PIECE = "one of several views that torch.split, torch.chunk or torch.unbind make at once"
    INPLACE = "the first input's memory, which the op overwrites"
    RESIDENT = "the memory of a parameter or buffer of the network, which exists before the step"
    GIVEN = "the caller's memory, which exists before the step: a further input, the targets of a loss"

    @property
    def is_view(self) -> bool:
        """Whether the output is a view of the input or of a piece of it, without memory of its own."""
        return self is Result.VIEW or self is Result.PIECE


class Stock(NamedTuple):
    """How autograd departs from the rule that each demanded gradient keeps what its formula reads.

    joint: one backward call computes all gradients, so what any of them reads is saved.
    unseen: extras that saved-tensor hooks do not see, so that checkpointing keeps those of the first run.
    in_python: the layer is a torch.autograd.Function, which saves after its forward has returned; others save while
        they run.
    excuse: why more is saved than the gradients need, as the end of a sentence with "because".
    """

    joint: bool = False
    unseen: tuple[str, ...] = ()
    in_python: bool = False
    excuse: str = ""


class Autograd(Formula):
    """The hooks for what autograd saves of an op, and what it does with gradients."""

    #: How autograd departs from the needs of the op's gradients. Other formulas are in `torch_needs`.
    stock: ClassVar[Stock] = Stock()

    #: Inputs and parameters to which the op passes the output's gradient.
    passes: ClassVar[tuple[str, ...]] = ()
    #: The input gradients alias the output gradient. Autograd never adds into a view, so a second gradient of the same
    #: value allocates a new tensor.
    gradient_views: ClassVar[bool] = False
    #: The parameters' gradients are views, so that those of several uses are added into a new tensor.
    parameter_gradient_views: ClassVar[bool] = False
    #: The op is several functions of torch, so that the output's gradient is gone, if nobody else holds it, before the
    #: functions that make the input's gradient allocate most.
    frees_gradient: ClassVar[bool] = False
    #: The inputs broadcast: the gradient of a smaller input is summed over the axes along which it was broadcast.
    broadcasts: ClassVar[bool] = False
    #: Parameters that were broadcast: autograd's engine sums their gradients, as it does those of smaller inputs.
    broadcast_parameters: ClassVar[tuple[str, ...]] = ()

    @property
    def result(self) -> Result:
        """Whose memory the output uses."""
        return Result.INPLACE if getattr(self, "inplace", False) else Result.NEW

    def is_gradient_viewed(self, y: Shape) -> bool:
        """Whether the input gradients are views, with an output of this shape."""
        return self.gradient_views

    def torch_needs(self) -> Mapping[str, tuple[str, ...]]:
        """For each gradient, the operands that stock PyTorch's formula reads (derivatives.yaml), by default `needs`."""
        return self.needs()

    def on_gpu(self: SomeOp) -> SomeOp:
        """This op as it runs on a GPU, where another kernel may keep something else."""
        return self

    def saves_late(self, operands: Set[str]) -> bool:
        """Whether the op saves its output or an extra (True), or only inputs (False), before it computes.

        A second run must finish an op that saves late. operands: the names of what the op saves.
        """
        return any(name not in {*self.inputs, *self.params(), *self.buffers()} for name in operands)
