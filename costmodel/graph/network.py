"""A network as loaded: its graph, and the input it is made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .graph import Graph


@dataclass(frozen=True, eq=False)
class Network:
    """A graph with a name. `resolution` is its own input size, `channels` the input's channels.

    module: the torch.nn.Module that it was traced from, if any; retrace: traces it at another
    resolution, and for a single image or for more.
    weights: arrays by path in a state dict, read when called, where there are weights but no module.
    reference: the implementation that it follows ("torchvision.models.mobilenet_v2"), for a spec that names one.
    """

    name: str
    graph: Graph
    resolution: int
    channels: int = 3
    reference: str | None = None
    module: Any = None
    retrace: Callable[[int, bool], Network] | None = None
    weights: Callable[[], Mapping[str, Any]] | None = None

    def at(self, resolution: int, batch: int = 0) -> Network:
        """The network for images of another size: a module's Python is asked again, which may pad or pool otherwise.

        So it is for a batch of a single image, of which torch may take for contiguous what of several it copies.
        """
        if self.retrace is None or resolution == self.resolution and batch != 1:
            return self
        return self.retrace(resolution, batch == 1)

    def __str__(self) -> str:
        return f"{self.name} at {self.channels}x{self.resolution}x{self.resolution}\n{self.graph}"
