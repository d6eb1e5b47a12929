"""The layers that realise ops: torch.nn's, those that torch.nn lacks, and the lean ones."""

from __future__ import annotations

import torch
from torch import nn

from . import lean
from .modules import (
    FrozenBatchNorm1d,
    FrozenBatchNorm2d,
    FrozenBatchNorm3d,
    StandardisedConv2d,
    StochasticDepth,
    Tensors,
    computed,
    standardised_once,
    unknown,
)

__all__ = [
    "FrozenBatchNorm1d",
    "FrozenBatchNorm2d",
    "FrozenBatchNorm3d",
    "StandardisedConv2d",
    "StochasticDepth",
    "Tensors",
    "computed",
    "lean",
    "nn",
    "standardised_once",
    "torch",
    "unknown",
]
