"""A weight that is standardised, in the forward pass and again in the backward pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...ops.conv import EPS
from ..modules import OF_CHANNELS


class Standardised(NamedTuple):
    """A standardised weight, and what it is made with of the raw one: (O, 1, 1, 1) each. Made out of autograd's sight.

    It is equal to the last bit to what `standardised` of pytorch/modules.py makes: the same steps, one in place.
    """

    weight: Tensor
    mean: Tensor
    std: Tensor
    divisor: Tensor

    @classmethod
    def of(cls, raw: Tensor) -> Standardised:
        mean = raw.mean(OF_CHANNELS, keepdim=True)
        weight = raw - mean
        std = weight.std(OF_CHANNELS, keepdim=True)
        divisor = std + EPS
        return cls(weight.div_(divisor), mean, std, divisor)

    def gradient_(self, raw: Tensor, g: Tensor) -> Tensor:
        """The gradient of the raw weight, written over that of the standardised one, g; this weight is overwritten too.

        With c = raw - mean, s = std, d = divisor and K weights per channel it is u - mean(u), where
        u = g / d - c * sum(g * c / d) / (s * d * (K - 1)); the sum counts as 0 where s is 0, as autograd has it.
        """
        weight, mean, std, divisor = self
        share = weight.mul_(g).sum(OF_CHANNELS, keepdim=True).div_(std).div_(divisor)
        share.masked_fill_(std == 0, 0)
        torch.sub(raw, mean, out=weight)
        g.div_(divisor).addcmul_(weight, share, value=-1 / (raw[0].numel() - 1))
        return g.sub_(g.mean(OF_CHANNELS, keepdim=True))
