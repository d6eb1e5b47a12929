"""What PyTorch's autograd does with an op: what it saves and when, and which gradients share memory.

Words:
- An op's output is a new tensor, unless it shares memory that is there already (see `Result`).
- An op saves an operand when its autograd node keeps it until the op's backward has run.
- Stock PyTorch is what torch.nn and torch.nn.functional do. Its formulas stand in derivatives.yaml.
- An op passes a gradient if it hands on the output's gradient itself, as the gradient of an input or parameter,
  without a copy: an addition passes its output's gradient to both inputs.
- Saved-tensor hooks (torch.autograd.graph.saved_tensors_hooks) see most of what is saved; torch.utils.checkpoint is
  built on them.
- A block that runs again (torch.utils.checkpoint) is stopped as soon as it has saved everything once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import Enum
from typing import ClassVar, NamedTuple

from .formula import Formula


class Result(Enum):
    """Whose memory an op's output is."""

    NEW = "a tensor of its own"
    VIEW = "the input seen again: a reshape, a dropout that is off"
    #: The input's gradient is put together from those of all pieces, which are held until then.
    PIECE = "one of several views made at once, by torch.split, torch.chunk or torch.unbind"
    INPLACE = "the first input's, which it overwrites"
    RESIDENT = "a parameter's or buffer's of the network, there before the step"

    @property
    def is_view(self) -> bool:
        """Whether the output is the input seen again, whole or in pieces: no memory of its own."""
        return self is Result.VIEW or self is Result.PIECE


class Stock(NamedTuple):
    """How autograd departs from "each gradient that is demanded keeps what its formula reads".

    joint: one backward call makes all gradients, and what any of them reads is saved.
    unseen: extras that saved-tensor hooks are not shown, so that a second run does not take them over.
    given: extras that the caller hands in (the targets of a loss), so that the op does not allocate them.
    in_python: the layer is a torch.autograd.Function, which saves after it has returned; others save while they run.
    excuse: why more is saved than the gradients need, in words after "because".
    """

    joint: bool = False
    unseen: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    in_python: bool = False
    excuse: str = ""


class Autograd(Formula):
    """The hooks that tell what autograd saves of an op and what it does with gradients."""

    #: How autograd departs from the needs of the op's gradients, beside other formulas (`torch_needs`).
    stock: ClassVar[Stock] = Stock()

    #: Inputs and parameters whose gradient is the output's gradient itself, no copy.
    passes: ClassVar[tuple[str, ...]] = ()
    #: The input gradients alias the output gradient. Autograd never adds into a view, so a second gradient of the same
    #: value allocates a new tensor.
    gradient_views: ClassVar[bool] = False
    #: The inputs broadcast: the gradient of a smaller one is summed over the output's other axes.
    broadcasts: ClassVar[bool] = False

    @property
    def result(self) -> Result:
        """Whose memory the output is."""
        return Result.INPLACE if getattr(self, "inplace", False) else Result.NEW

    def torch_needs(self) -> Mapping[str, tuple[str, ...]]:
        """What each gradient reads by stock PyTorch's formulas (derivatives.yaml), where they depart from `needs`."""
        return self.needs()

    def saves_late(self, operands: Set[str]) -> bool:
        """Whether the op saves its output or an extra (True), or inputs only (False), which it does before it computes.

        A second run must finish an op that saves late. operands: what the op saves.
        """
        return any(name not in {*self.inputs, *self.params(), *self.buffers()} for name in operands)
