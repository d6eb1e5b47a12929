"""What PyTorch's autograd does with an op: what it saves and when, and which gradients share memory.

Words:
- An op's output is a new tensor, unless it shares memory that is there already (see `Result`).
- An op saves an operand when its autograd node keeps it until the op's backward has run.
- Stock PyTorch is what torch.nn and torch.nn.functional do. Its formulas stand in derivatives.yaml.
- A joint backward is one call for all gradients of an op; it keeps what any of them reads.
- An op passes a gradient if it hands on the output's gradient itself, as the gradient of an input or parameter,
  without a copy: an addition passes its output's gradient to both inputs.
- Saved-tensor hooks (torch.autograd.graph.saved_tensors_hooks) see most of what is saved; torch.utils.checkpoint is
  built on them. An operand is unseen if they are not shown it.
- A block that runs again (torch.utils.checkpoint) is stopped as soon as it has saved everything once more.
"""

from __future__ import annotations

from enum import Enum
from typing import AbstractSet, ClassVar, Mapping


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


class Autograd:
    """The hooks that tell what autograd saves of an op and what it does with gradients."""

    #: Stock PyTorch computes all gradients of this op in one backward call, and keeps what any of them reads.
    torch_joint: ClassVar[bool] = False
    #: Why stock PyTorch keeps more of this op than its gradients need, in words after "because".
    torch_excuse: ClassVar[str] = ""
    #: Its layer is an autograd function in Python, which saves after it has returned; a stock op saves while it runs.
    in_python: ClassVar[bool] = False
    #: Extras that saved-tensor hooks are not shown: a second run of the op does not take them over.
    unseen: ClassVar[tuple[str, ...]] = ()
    #: Extras that the caller gives, so that the op does not allocate them.
    given: ClassVar[tuple[str, ...]] = ()

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

    def saves_late(self, operands: AbstractSet[str]) -> bool:
        """Whether the op saves its output or an extra (True), or inputs only (False), which it does before it computes.

        A second run must finish an op that saves late. operands: what the op saves.
        """
        return any(name not in {*self.inputs, *self.params(), *self.buffers()} for name in operands)
