"""What the kernels of one op depend on beside the shapes that it works on."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..sizes.size import Shape, Size, maximum, numel, where
from .memory_order import CHANNELS_LAST, MemoryOrder, contiguous, copy_of, differs
from .target import Target

NUMBER_BYTES = 8  # of a Python number as a tensor: float64, or int64
COUNT_BYTES = 8  # of a number of elements, an int64
SUM_BYTES = 4  # of a sum of numbers of 16 bits: float32
SHARED = 32768  # numbers from which on threads share a sum (aten/src/ATen/Parallel.h: GRAIN_SIZE)


class Setting(NamedTuple):
    """What the buffers of one op depend on beside shapes.

    item: bytes of a number that it works on. recorded: autograd records the op for a backward pass.
    demanded: the gradients that its backward computes. layouts: how its inputs lie in memory, and gradient: how its
    output's gradient does, where they are not all in the target's format. dtype: the name of the data type.
    of_parameters: bytes of a number of the op's parameters; 0: as many as of others. summed_late: gradients of
    broadcast inputs are summed after the op's own backward, when what it kept has been freed. narrow: the inputs of 16
    bits beside others of 32, which a kernel converts, and whose gradients are cast back.
    """

    target: Target
    item: int
    recorded: bool
    demanded: tuple[str, ...]
    layouts: tuple[MemoryOrder, ...] = ()
    gradient: MemoryOrder | None = None
    dtype: str = "float32"
    of_parameters: int = 0
    summed_late: bool = False
    narrow: tuple[str, ...] = ()

    @property
    def parameter_item(self) -> int:
        """Bytes of a number of the op's parameters."""
        return self.of_parameters or self.item

    @property
    def casts_parameters(self) -> bool:
        """Whether the op works on narrower numbers than its parameters are (under autocast)."""
        return self.parameter_item > self.item

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

    def is_regular(self, x: Shape) -> Any:
        """Whether the first input is contiguous, or channels_last images."""
        found = differs(self.layouts[0], x, self._regular(x)) if self.layouts else False
        return not found if isinstance(found, bool) else ~found

    @property
    def is_mixed(self) -> bool:
        """Whether the first input is channels_last images where others are contiguous."""
        return bool(self.layouts) and self.layouts[0].order == CHANNELS_LAST.order

    def copy_of_input(self, x: Shape) -> Size:
        """Bytes of the copy that a kernel makes of its first input unless it is contiguous, or channels_last images."""
        return self._copy(self.layouts[0], x) if self.layouts else 0

    def copy_of_gradient(self, y: Shape) -> Size:
        """Bytes of the copy that a kernel makes of its output's gradient unless it lies as the first input should."""
        return self._copy(self.gradient, y) if self.gradient is not None else 0

    def contiguous_copy_of_input(self, x: Shape) -> Size:
        """Bytes of the copy that a kernel makes of its first input unless it is contiguous."""
        return self._contiguous_copy(self.layouts[0] if self.layouts else None, x)

    def contiguous_copy_of_gradient(self, y: Shape) -> Size:
        """Bytes of the copy that a kernel makes of its output's gradient unless it is contiguous."""
        return self._contiguous_copy(self.gradient, y)

    def lie_in(self, order: MemoryOrder, x: Shape, y: Shape | None = None) -> Any:
        """Whether the first input, of images x, lies in an order, and the output's gradient, of images y if given."""
        found: Any = True
        for layout, shape in ((self.layouts[0] if self.layouts else None, x), (self.gradient, y)):
            if shape is not None:
                out_of_order = differs(layout or self._usual(shape), shape, order.order)
                found = found & ((not out_of_order) if isinstance(out_of_order, bool) else ~out_of_order)
        return found

    def takes_gradient_whole(self) -> bool:
        """Whether the output's gradient is dense: neither a slice nor an expanded tensor."""
        return self.gradient is None or not self.gradient.outside

    def shared_sum(self, x: Shape, summed: Size = 1, item: int = 0) -> Size:
        """Bytes beside the result of a sum, or a largest number, of a tensor x: a number of each thread, if it is one.

        summed: the numbers of the result. item: bytes of a number, if these are not the op's
        (aten/src/ATen/native/TensorIteratorReduce.cpp: two_pass_reduction).
        """
        if not self.kernels or self.target.threads == 1:
            return 0
        return where((summed == 1) & (numel(x) >= SHARED), (item or self.item) * self.target.threads, 0)

    def channel_sums(self, y: Shape) -> Size:
        """Bytes beside the result of a sum of the output's gradient over all axes but the channels.

        torch sums contiguous maps of 16 bits in 32, in a copy, unless one run of numbers is summed
        (aten/src/ATen/native/ReduceOps.cpp: should_use_acc_buffer).
        """
        order = (self.gradient or self._usual(y)).order
        if not self.kernels or self.item >= SUM_BYTES or order != contiguous(len(y)).order:
            return self.shared_sum(y, y[1])
        several = (y[0] > 1) & (y[1] > 1) & (numel(y[2:]) > 1)
        return where(several, SUM_BYTES * (numel(y) + y[1]), self.shared_sum(y, y[1]))

    @property
    def sum_item(self) -> int:
        """Bytes of a number of a kernel's sums."""
        return max(self.item, SUM_BYTES)

    def mean(self, y: Shape, x: Shape) -> Size:
        """Bytes beside the result of a mean: a sum is divided by a number; of 16 bits both are in 32, in copies."""
        if not self.kernels or self.item >= SUM_BYTES:
            return maximum(self.shared_sum(x, numel(y)), self.scalar)
        number, shared = self.target.number_bytes(SUM_BYTES), self.shared_sum(x, numel(y), SUM_BYTES)
        return SUM_BYTES * numel(y) + maximum(SUM_BYTES * numel(x) + shared, number)

    def _contiguous_copy(self, layout: MemoryOrder | None, x: Shape) -> Size:
        return copy_of(layout or self._usual(x), x, contiguous(len(x)).order, self.item * numel(x))

    def _usual(self, x: Shape) -> MemoryOrder:
        """The order of a tensor where none is told."""
        return CHANNELS_LAST if len(x) == 4 and self.target.channels_last else contiguous(len(x))

    def _copy(self, layout: MemoryOrder, x: Shape) -> Size:
        return copy_of(layout, x, self._regular(x), self.item * numel(x))

    def _regular(self, x: Shape) -> tuple[int, ...]:
        """The order in which most kernels take a tensor."""
        return (CHANNELS_LAST if len(x) == 4 and self.channels_last else contiguous(len(x))).order

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
