"""Where a step runs, and what its kernels allocate there: a file for each device. Importing this registers them all."""

from __future__ import annotations

import os

from ..errors import CostmodelError
from .target import DEVICES, Target

from . import cpu, cuda, bare
from .probed import is_probe, probed
from .texts import of_text

__all__ = ["DEVICES", "TARGET_VARIABLE", "Target", "parse", "usual_target"]


TARGET_VARIABLE = "COSTMODEL_TARGET"  # of the environment: the target where none is given


def usual_target() -> str:
    """The target where none is given: that of the environment, else the processor of this machine."""
    named = os.environ.get(TARGET_VARIABLE, "")
    if not named:
        return "cpu"
    try:
        parse(named)
    except CostmodelError as error:
        raise CostmodelError(f"{TARGET_VARIABLE}: {error}") from None
    return named


def parse(text: str) -> Target:
    """The target of `cpu[,threads=N][,isa=ISA][,cores=N][,channels_last]`, `cuda[,sm=N][,channels_last]`
    or `none[,threads=N][,channels_last]`, or of a probe's file.

    What is left out is found out of this machine. Raises CostmodelError for anything else.
    """
    return probed(text) if is_probe(text) else of_text(text)
