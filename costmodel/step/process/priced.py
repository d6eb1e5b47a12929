"""A priced step, as far as the process around it depends on it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ...graph.graph import Graph
from ...graph.inputs import Inputs
from ...sizes.size import Shape, Size
from ..request import Request
from ..timeline import Timeline


class Priced(Protocol):
    """What `Estimate` has of these: see there."""

    @property
    def graph(self) -> Graph: ...
    @property
    def inputs(self) -> Inputs: ...
    @property
    def shapes(self) -> tuple[Shape, ...]: ...
    @property
    def request(self) -> Request: ...
    @property
    def convention(self) -> str: ...
    @property
    def memory(self) -> Any: ...
    @property
    def timeline(self) -> Timeline: ...
    @property
    def slot_sizes(self) -> np.ndarray: ...
    @property
    def resident_bytes(self) -> Size: ...
    @property
    def step_peak_bytes(self) -> Size: ...
