"""In which data type an op runs under torch.autocast.

Words:
- Autocast's data type is the one that it was entered with, bfloat16 or float16; the network's own is float32.
- An op's policy says what autocast casts before the op runs (aten/src/ATen/autocast_mode.h: CastPolicy). A cast is an
  autograd node of its own, and what it makes is a new tensor.
- Autocast caches casts of parameters that train until the outermost region ends.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class Casts(Enum):
    """What autocast casts for an op, by the lists for CPUs in aten/src/ATen/autocast_mode.cpp."""

    LOWER = "inputs and parameters, to autocast's data type"
    FULL = "inputs, to float32"
    INSIDE = "inputs, to autocast's data type; the op itself casts its parameters, in either pass"
    WIDEST = "inputs, to the widest data type among them"
    NONE = "nothing: the kernels take inputs as they come, beside float32 parameters"


class MixedPrecision:
    """The hooks for what autocast does with an op."""

    #: What autocast casts for the op.
    casts: ClassVar[Casts] = Casts.NONE
    #: Whether an op for which nothing is cast promotes: its inputs may be of both data types, then its output is
    #: float32, and the engine casts the gradients of 16-bit inputs back.
    promotes: ClassVar[bool] = False
    #: Whether its kernels take 16-bit inputs beside float32 parameters; if not, torch then computes in another way.
    mixes: ClassVar[bool] = True
