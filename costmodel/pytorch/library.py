"""The layers that ops are made of: torch.nn's, those that it lacks, and the lean ones."""

from __future__ import annotations

import torch
from torch import nn

from . import lean
from .modules import FrozenBatchNorm2d, StochasticDepth, Tensors, unknown

__all__ = ["FrozenBatchNorm2d", "StochasticDepth", "Tensors", "lean", "nn", "torch", "unknown"]
