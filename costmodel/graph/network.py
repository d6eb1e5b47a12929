"""A network as loaded: its graph, and the input it is made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import CostmodelError, check_one_line
from ..escapes import visible
from .dry import RunDry
from .graph import Graph
from .inputs import Inputs, Resolution, resized, resolution_of

DTYPE = "float32"  # the data type of a network's parameters if it does not say


class Untraceable(CostmodelError):
    """A module whose layer graph cannot be found. `network` can still run dry steps; its graph is one unknown node."""

    def __init__(self, message: str, network: Network) -> None:
        super().__init__(message)
        self.network = network


@dataclass(frozen=True, eq=False)
class Network:
    """A graph with a name. `inputs` are those that it was made for.

    module: the torch.nn.Module that the graph was traced from, if any.
    retrace: makes the network anew from its module or file, for other inputs and for a single image (True) or several.
    weights: reads arrays, keyed by path in a state dict, if there are weights but no module (ONNX).
    dry: runs a dry step of the module, if there is one. dtype: the data type of its parameters.
    loss: with which it trains: a Loss, or people's own with its targets, in which the graph then ends; None: the usual
    one.
    untraceable: why there is no layer graph, if there is none.
    notes: sentences that say why figures may be understated.
    reference: the implementation that a spec follows ("torchvision.models.mobilenet_v2"), if it names one.
    """

    name: str
    graph: Graph
    inputs: Inputs
    reference: str | None = None
    module: Any = None
    retrace: Callable[[Inputs, bool], Network] | None = None
    weights: Callable[[], Mapping[str, Any]] | None = None
    notes: tuple[str, ...] = ()
    dry: RunDry | None = None
    dtype: str = DTYPE
    loss: Any = None
    untraceable: str = ""

    def __post_init__(self) -> None:
        check_one_line("a network's name is", self.name)

    @property
    def resolution(self) -> Resolution | None:
        """The resolution of its images; None if its first input is not images (channels, height, width)."""
        return resolution_of(self.inputs)

    @property
    def channels(self) -> int:
        """Channels of its images."""
        return self.inputs[0].shape[0]

    def at(self, resolution: Resolution | None, batch: int = 0) -> Network:
        """The network for images of another size, made anew if it can be: a module's code may pad or pool otherwise.

        A batch of a single image has a network of its own too: torch may take a tensor as contiguous that it would copy
        for several images.
        """
        inputs = resized(self.inputs, resolution)
        if self.retrace is None or inputs == self.inputs and batch != 1:
            return self
        found = replace(self.retrace(inputs, batch == 1), loss=self.loss)
        return found if self.dry else found.unchecked()

    def unchecked(self) -> Network:
        """The network without dry steps: its estimates are by rule alone."""
        return replace(self, dry=None)

    def __str__(self) -> str:
        return f"{visible(self.name)} at {', '.join(map(str, self.inputs))}\n{self.graph}"
