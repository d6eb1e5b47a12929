"""What lean convolutions allocate that make gradients by other kernels than stock ones do, on x86.

costmodel/pytorch/lean/gradients.py runs them; the scratch here is of what is written there, line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from ..graph.op import shared_fields
from ..sizes.size import Shape, Size, beyond, maximum, numel, where
from ..targets.memory_order import CHANNELS_LAST, contiguous
from ..targets.setting import Setting
from .conv import Conv2d

#: The data type in which a weight's gradient is made in windows.
WINDOW_DTYPE = "float32"
#: torch copies a matrix of so many numbers out of its transpose by way of a block of as many
#: (aten/src/ATen/native/Copy.cpp: copy_transpose_valid).
TRANSPOSED = 60 * 60
#: By width of a depthwise kernel, the windows in which its weight's gradient is made: first column, and columns.
#: oneDNN's own kernel takes up to three columns, and next to no padding (targets/onednn.py: weight_kernel).
WINDOWS = {5: ((0, 3), (3, 2)), 7: ((0, 3), (3, 2), (5, 2))}


def is_pointwise(kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], groups: int) -> bool:
    """Whether a convolution is a product of matrices."""
    return (*kernel, *stride, *padding, groups) == (1, 1, 1, 1, 0, 0, 1)


def is_wide(kernel: Sequence[int], dilation: Sequence[int], groups: int, channels: int) -> bool:
    """Whether a convolution with so many channels in and out is depthwise, with a wide kernel."""
    rows, columns = kernel
    return rows == columns and columns in WINDOWS and tuple(dilation) == (1, 1) and groups == channels > 1


def takes_less(pixels: Size, inputs: int, outputs: int) -> Any:
    """Whether an image's maps, transposed, take fewer bytes than four times the weights that they are multiplied to."""
    return pixels * (inputs + outputs) < 4 * inputs * outputs


@shared_fields
class OwnGradients(Conv2d):
    """A convolution that makes gradients itself where stock kernels are slow, or take much.

    Of a pointwise one of contiguous maps, or of channels_last ones on one thread (on ARM on several), the input's
    gradient is a product of matrices, without scratch. On ARM the weight's is, too. On x86, of a depthwise one of 5x5
    or 7x7, the weight's is made in windows of columns. Where any is so, the weight's gradient is made first, then the
    bias's, and then the input's.
    """

    @cached_property
    def is_pointwise(self) -> bool:
        """Whether it is a product of matrices."""
        kernel, stride, padding, _ = self._windows
        return is_pointwise(kernel, stride, padding, self.groups)

    @cached_property
    def is_wide(self) -> bool:
        """Whether it is depthwise, with a wide kernel."""
        kernel, _, _, dilation = self._windows
        return self.in_channels == self.out_channels and is_wide(kernel, dilation, self.groups, self.out_channels)

    @property
    def makes_gradients(self) -> bool:
        """Whether its gradients are made so on some machine."""
        return self.is_pointwise or self.is_wide

    def is_made_as_product(self, setting: Setting, x: Shape, y: Shape | None = None) -> Any:
        """Whether it is made as a product of matrices; its input's gradient, if y, the output's shape, is given."""
        own = setting.target.own_kernels
        if not (self.is_pointwise and own and setting.dtype in own.dtypes):
            return False
        found = setting.lie_in(contiguous(4), x, y)
        flat = setting.target.threads == 1 or (self.flat_forward if y is None else own.on_threads)
        return found | setting.lie_in(CHANNELS_LAST, x, y) if flat else found

    def transposed(self, setting: Setting, x: Shape) -> Size:
        """Bytes of a copy of the weight as its result's product takes it: by rows of channels_last maps."""
        own, numbers = setting.target.own_kernels, self.in_channels * self.out_channels
        if own is None or not own.copies or 1 in (self.in_channels, self.out_channels):
            return 0
        copied = setting.item * (numbers + TRANSPOSED * (numbers >= TRANSPOSED))
        return where((x[2] * x[3] > 1) & setting.lie_in(CHANNELS_LAST, x), copied, 0)

    @property
    def flat_forward(self) -> bool:
        """Whether its result is a product of channels_last maps on several threads, too."""
        return False

    def may_be_windows(self, setting: Setting) -> bool:
        """Whether the weight's gradient is made in windows where its maps lie as they should."""
        own = setting.target.own_kernels
        return self.is_wide and own is not None and own.windows and setting.dtype == WINDOW_DTYPE

    def makes_product(self, setting: Setting, y: Shape, x: Shape) -> Any:
        """Whether the gradient of an input of shape x is a product; an array of bools over a grid."""
        return "x" in setting.demanded and self.is_made_as_product(setting, x, y)

    def makes_windows(self, setting: Setting, y: Shape, x: Shape) -> Any:
        """Whether the weight's gradient is made in windows."""
        if "weight" not in setting.demanded or not self.may_be_windows(setting):
            return False
        order = CHANNELS_LAST if setting.channels_last else contiguous(4)
        return setting.lie_in(order, x, y) & (x[2] * x[3] > 1)

    def makes_weight_product(self, setting: Setting, y: Shape, x: Shape) -> Any:
        """Whether the weight's gradient is a product: of contiguous maps where that takes less than a stock kernel."""
        own = setting.target.own_kernels
        if "weight" not in setting.demanded or own is None or not own.of_weights:
            return False
        few = takes_less(x[2] * x[3], self.in_channels, self.out_channels)
        made = self.is_made_as_product(setting, x, y)
        return made & (setting.lie_in(CHANNELS_LAST, x, y) | few)

    def kernels(self, setting: Setting, y: Shape, x: Shape) -> tuple[Size, Size]:
        forward, backward = super().kernels(setting, y, x)
        for makes, own in (
            (self.makes_product, self._by_product),
            (self.makes_windows, self._by_windows),
            (self.makes_weight_product, self._by_products),
        ):
            made = makes(setting, y, x)
            if made is not False:
                backward = where(made, own(setting, y, x), backward)
        return forward, backward

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return self._holds(super().modelled, Conv2d.modelled, setting, y, x)

    def bounded(self, setting: Setting, y: Shape, x: Shape) -> Any:
        return self._holds(super().bounded, Conv2d.bounded, setting, y, x)

    def _holds(self, rule: Callable, of_window: Callable, setting: Setting, y: Shape, x: Shape) -> Any:
        """Whether a rule holds for all kernels that are called. of_window: the same rule of another convolution."""
        found, product = rule(setting, y, x), self.makes_product(setting, y, x)
        if product is not False:
            found = where(product, rule(self._of(setting, "weight", "bias"), y, x), found)
        both = self.makes_weight_product(setting, y, x)
        if both is not False:
            found = where(both, True, found)
        windows = self.makes_windows(setting, y, x)
        if windows is not False:
            all_hold = rule(self._of(setting, "x"), y, x)
            for window, part in self._parts(y, x):
                all_hold = all_hold & of_window(window, self._of(setting, "weight"), y, part)
            found = where(windows, all_hold, found)
        return found

    def _by_product(self, setting: Setting, y: Shape, x: Shape) -> Size:
        """Scratch of the backward pass with the input's gradient as a product."""
        others = self._of(setting, "weight", "bias")
        first = super().kernels(others, y, x)[1] if others.demanded else 0
        return maximum(first - setting.item * numel(x), 0)

    def _by_products(self, setting: Setting, y: Shape, x: Shape) -> Size:
        """Scratch of the backward pass with the weight's gradient, and the input's, as products."""
        item, pixels = setting.item, x[2] * x[3]
        weight = item * numel(self.params()["weight"])
        bias = item * self.out_channels * ("bias" in setting.demanded)
        map_ = item * numel(x) * ("x" in setting.demanded)
        # Of contiguous maps an image's are transposed, one after the other.
        sides = [pixels * channels for channels in (self.in_channels, self.out_channels)]
        block = where(maximum(*sides) >= TRANSPOSED, item * TRANSPOSED, 0)
        image = where(setting.lie_in(CHANNELS_LAST, x, y), 0, item * sum(sides) + block)
        summed = setting.channel_sums(y) if bias else 0
        return beyond(weight + bias + map_, weight + image, weight + bias + summed)

    def _by_windows(self, setting: Setting, y: Shape, x: Shape) -> Size:
        """Scratch of the backward pass with the weight's gradient in windows."""
        item, demanded = setting.item, setting.demanded
        weight, bias = item * numel(self.params()["weight"]), item * self.out_channels * ("bias" in demanded)
        map_ = item * numel(x) * ("x" in demanded)
        levels = [weight + bias + map_ + super().kernels(self._of(setting, "x"), y, x)[1]] if "x" in demanded else []
        for window, part in self._parts(y, x):
            made = item * (numel(part) + numel(window.params()["weight"]))
            levels.append(weight + made + window.kernels(self._of(setting, "weight"), y, part)[1])
        return beyond(weight + bias + map_, *levels)

    def _parts(self, y: Shape, x: Shape) -> Iterator[tuple[Conv2d, Shape]]:
        """The windows as convolutions, each with the shape of the columns that it reads."""
        (rows, columns), (down, right), *_ = self._windows
        for _, width in WINDOWS[columns]:
            window = Conv2d(self.groups, self.groups, (rows, width), (down, right), groups=self.groups)
            yield window, (*x[:2], (y[2] - 1) * down + rows, (y[3] - 1) * right + width)

    @staticmethod
    def _of(setting: Setting, *names: str) -> Setting:
        """The setting of a call that makes some of the gradients alone."""
        return setting._replace(demanded=tuple(name for name in setting.demanded if name in names))
