"""Drafts of an ONNX file's nodes, and the values that they output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..draft import Draft
from .strides import Strides


class Live(NamedTuple):
    """A value of the graph: the draft whose output it is, None for the images."""

    draft: Placed | None
    shape: tuple[int, ...]
    strides: Strides


@dataclass(eq=False)
class Placed(Draft):
    """A draft of a node of the file. It gets its name once all drafts exist.

    reads: the values behind `inputs`. path: its place as the file notes it; named: whether that is a module's path.
    evaluates: whether it is in evaluation mode in the file.
    """

    reads: tuple[Live, ...] = ()
    path: str = ""
    named: bool = False
    evaluates: bool = False
