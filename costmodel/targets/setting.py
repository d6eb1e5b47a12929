"""What the kernels of one op depend on beside the shapes that it works on."""

from __future__ import annotations

from typing import NamedTuple

from ..sizes.size import Shape, Size, numel
from .memory_order import CHANNELS_LAST, MemoryOrder, copy_of
from .target import Target

NUMBER_BYTES = 8  # of a Python number as a tensor: float64, or int64


class Setting(NamedTuple):
    """What the buffers of one op depend on beside shapes.

    item: bytes of a number of the network's data type. recorded: autograd records the op for a backward pass.
    demanded: the gradients that its backward computes. layouts: how its inputs lie in memory, and gradient: how its
    output's gradient does, where they are not all in the target's format.
    """

    target: Target
    item: int
    recorded: bool
    demanded: tuple[str, ...]
    layouts: tuple[MemoryOrder, ...] = ()
    gradient: MemoryOrder | None = None

    @property
    def channels_last(self) -> bool:
        """Whether a function of images takes its input as channels_last."""
        return self.layouts[0].order == CHANNELS_LAST.order if self.layouts else self.target.channels_last

    def copies(self, order: tuple[int, ...], y: Shape | None, *xs: Shape) -> Size:
        """Bytes of the copies that bring the inputs, and the output's gradient `y` if one is given, into an order."""
        total = 0
        for layout, shape in zip((*self.layouts, self.gradient), (*xs, y)):
            if layout is not None and shape is not None:
                total = total + copy_of(layout, shape, order, self.item * numel(shape))
        return total

    @property
    def kernels(self) -> bool:
        """Whether what CPU kernels allocate inside counts, and not only the tensors that the dispatcher sees."""
        return self.target.counts_kernels

    @property
    def scalar(self) -> int:
        """Bytes of a number in arithmetic with a tensor, made within an op."""
        return self.target.number_bytes(self.item)

    @property
    def python_number(self) -> int:
        """Bytes of a number that Python hands to the op."""
        return self.target.python_number_bytes(self.item)
