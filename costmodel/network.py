"""A network as loaded: its graph, and the input it is made for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Optional

from .graph import Graph


@dataclass(frozen=True, eq=False)
class Network:
    """A graph with a name. `resolution` is its own input size, `channels` the input's channels.

    module: the torch.nn.Module that it was traced from, if any; retrace: traces it at another resolution.
    weights: arrays by path in a state dict, read when called, where there are weights but no module.
    reference: the implementation that it follows ("torchvision.models.mobilenet_v2"), for a spec that names one.
    """

    name: str
    graph: Graph
    resolution: int
    channels: int = 3
    reference: Optional[str] = None
    module: Any = None
    retrace: Optional[Callable[[int], "Network"]] = None
    weights: Optional[Callable[[], Mapping[str, Any]]] = None

    def at(self, resolution: int) -> "Network":
        """The network for images of another size: a module's Python is asked again, which may pad or pool otherwise."""
        return self if self.retrace is None or resolution == self.resolution else self.retrace(resolution)

    def __str__(self) -> str:
        return f"{self.name} at {self.channels}x{self.resolution}x{self.resolution}\n{self.graph}"
