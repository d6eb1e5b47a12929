"""What decides the kernels of a convolution in oneDNN, whatever the sizes of its maps."""

from __future__ import annotations

from typing import Any

from .setting import Setting
from .target import ConvolutionKernels


class Facts(ConvolutionKernels):
    """What is known of one convolution in one setting, whatever the sizes."""

    def __init__(self, conv: Any, setting: Setting, lanes: int, window: bool = False) -> None:
        # lanes: channels that a vector holds, and so a block. window: a product of matrices runs as other windows do.
        self.item = item = setting.item
        self.dtype = setting.dtype
        self.threads, self.flat, self.lanes = setting.target.threads, setting.channels_last, lanes
        self.conv = conv
        self.inputs, self.outputs, self.groups = conv.in_channels, conv.out_channels, conv.groups
        self.c, self.k = self.inputs // self.groups, self.outputs // self.groups  # channels of one group
        self.kernel, self.stride, self.padding = conv.kernel, conv.stride, conv.padding
        self.reach = tuple(d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel))
        self.area = self.kernel[0] * self.kernel[1]
        self.strided, self.dilated = conv.stride != (1, 1), conv.dilation != (1, 1)
        self.depthwise = self.groups > 1 and self.c == self.k == 1
        self.pixelwise = self.area == 1 and conv.padding == (0, 0)
        self.product = self.pixelwise and self.groups == 1 and not window  # a product of two matrices
        self.picked = self.product and self.strided  # a product that reads only some pixels
        self.outside = any(p >= r for p, r in zip(self.padding, self.reach))  # some outputs read only padding
        self.told = bool(getattr(conv, "stretch", ""))  # a map of one pixel is told to be in channels_last by strides
        self.bias, self.demanded = conv.bias, setting.demanded
        self.weights = item * self.outputs * self.c * self.area
        self.biases = item * self.outputs if "bias" in setting.demanded else 0
        self.kept = self.biases + (self.weights if "weight" in setting.demanded else 0)

    def least_height(self) -> int:
        """The height of the lowest map that the depthwise kernel of the weight gradient takes."""
        return self.kernel[0] + -self.padding[0] % self.stride[0]

    def block(self) -> int:
        """Channels in a block. Without groups they are padded; with groups each must fill its blocks. 0: none fits."""
        if self.groups == 1:
            return self.lanes
        allowed = (16, 8, 4) if self.lanes == 16 else (8,)
        return next((b for b in allowed if self.c % b == self.k % b == 0), 0)
