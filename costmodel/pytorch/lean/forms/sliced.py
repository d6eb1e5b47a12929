"""A convolution of which some input channels' weights train (costmodel/ops/forms/sliced.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..like import Like
from .restored import FormedConv2d


class SlicedConv2d(FormedConv2d):
    """A convolution whose weight's gradient is 0 but for some input channels, those with the largest weights.

    channels: how many. Their numbers are a buffer that is not part of state dicts; they are chosen anew when a state
    dict is loaded.
    """

    def __init__(self, *args: Any, channels: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.channels = channels
        self.register_buffer("chosen", torch.empty(channels, dtype=torch.int64), persistent=False)
        choose(self)
        self.register_load_state_dict_post_hook(choose)

    def keep(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x.index_select(1, self.chosen),)

    def restore(self, form: Sequence[Tensor], x: Like) -> Tensor:
        return form[0]

    def weight_gradient(self, g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        stride, padding, dilation, groups = self.options
        depthwise = groups > 1
        outputs = self.chosen
        if depthwise:
            per_channel = self.out_channels // groups
            outputs = (outputs[:, None] * per_channel + torch.arange(per_channel, device=g.device)).flatten()
            g, groups = g.index_select(1, outputs), self.channels
        inputs = 1 if depthwise else self.channels
        sizes = (g.shape[1], inputs, *weight.shape[2:])  # the kernel reads no more of the weight
        strides = torch.empty(sizes, device="meta").stride()
        how = ([0], stride, padding, dilation, False, [0, 0], groups)
        of_weight = weight.as_strided(sizes, strides)
        made = torch.ops.aten.convolution_backward(g, x, of_weight, *how, [False, True, False])[1]
        del g
        return torch.zeros_like(weight).index_copy_(0 if depthwise else 1, outputs, made)


def choose(module: SlicedConv2d, *_: object) -> None:
    """Choose the input channels with the largest weights, by the sum of squares."""
    with torch.no_grad():
        weight = module.weight.flatten(2).square().sum(2)
        of_inputs = weight.sum(0) if module.groups == 1 else weight.view(module.in_channels, -1).sum(1)
        module.chosen.copy_(of_inputs.topk(module.channels).indices.sort().values)
