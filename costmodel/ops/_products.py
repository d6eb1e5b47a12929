"""What lean convolutions allocate that make products of matrices.

costmodel/pytorch/lean/products.py runs them; the scratch here is of what is written there, line by line.
"""

from __future__ import annotations

from typing import Any

from ..graph.op import shared_fields
from ..sizes.size import Shape, Size, maximum, numel, where
from ..targets.setting import Setting
from .conv import Conv2d

DTYPES = ("float32", "float64")


@shared_fields
class ProductConv2d(Conv2d):
    """A convolution whose input's gradient is a product of matrices where it is pointwise and its maps are contiguous.

    The gradients of weight and bias are made first, by the stock kernel, and then the input's, without scratch.
    """

    def may_be_product(self, setting: Setting) -> bool:
        """Whether it is one where its maps are contiguous."""
        kernel, stride, padding, _ = self._windows
        plain = (kernel, stride, padding, self.groups) == ((1, 1), (1, 1), (0, 0), 1)
        return plain and setting.target.multiplies and setting.dtype in DTYPES

    def makes_product(self, setting: Setting, y: Shape, x: Shape) -> Any:
        """Whether the gradient of an input of shape x is one; an array of bools over a grid."""
        if "x" not in setting.demanded or not self.may_be_product(setting):
            return False
        return (setting.contiguous_copy_of_input(x) == 0) & (setting.contiguous_copy_of_gradient(y) == 0)

    def kernels(self, setting: Setting, y: Shape, x: Shape) -> tuple[Size, Size]:
        forward, backward = super().kernels(setting, y, x)
        product = self.makes_product(setting, y, x)
        if product is False:
            return forward, backward
        alone = without_input(setting)
        others = super().kernels(alone, y, x)[1] if alone.demanded else 0
        return forward, where(product, maximum(others - setting.item * numel(x), 0), backward)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        product, alone = self.makes_product(setting, y, x), without_input(setting)
        return product & super().modelled(alone, y, x) | super().modelled(setting, y, x)

    def bounded(self, setting: Setting, y: Shape, x: Shape) -> Any:
        product, alone = self.makes_product(setting, y, x), without_input(setting)
        return where(product, super().bounded(alone, y, x), super().bounded(setting, y, x))


def without_input(setting: Setting) -> Setting:
    """The setting of the call that makes the gradients of weight and bias alone."""
    return setting._replace(demanded=tuple(name for name in setting.demanded if name != "x"))
