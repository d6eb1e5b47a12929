"""The request for an estimate, and the defaults of its arguments."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

from ..conventions import find as find_convention
from ..devices.device import Device
from ..devices.pace import Pace
from ..graph.network import Network
from ..ops._loss import Loss
from ..ops._named_loss import USUAL_LOSS, OwnLoss
from ..sizes.dtype import DType
from ..sizes.size import Size
from ..strategies import StrategyText
from ..targets.target import Target
from .optimizer import Optimizer
from .update import Update

#: Defaults of the arguments of public calls, by name. None: the network's own value, or the usual target.
DEFAULTS = MappingProxyType(
    {
        "strategy": "full",
        "batch": 8,
        "resolution": None,
        "convention": "torch",
        "optimizer": "sgd",
        "target": None,
        "device": None,
        "dtype": None,
        "amp": None,
        "accumulate": 1,
    }
)


def loss_of(network: Network) -> Loss | OwnLoss:
    """What a network trains to make small."""
    own = network.loss or USUAL_LOSS
    return own if isinstance(own, Loss) else OwnLoss(own.name)


class Request(NamedTuple):
    """A request for an estimate, checked and parsed.

    batch: images in a (micro-)step; resolution: of the images, None if the network takes something else; accumulate:
    micro-steps between updates; loss: what training makes small; amp: the data type of torch.autocast around the
    forward pass and the loss; device: the machine whose time and memory are asked for.
    """

    strategy: StrategyText
    batch: Size
    resolution: Any
    convention: str
    optimizer: Optimizer
    target: Target
    dtype: DType
    accumulate: int
    loss: Loss | OwnLoss = USUAL_LOSS
    amp: DType | None = None
    device: Device | None = None

    @property
    def pace(self) -> Pace | None:
        """How fast the device is; None without one, and where nothing is known of it for this data type."""
        dtype = self.amp or self.dtype
        if self.device is None or self.device.calibrate_first or not find_convention(self.convention).measurable:
            return None
        return self.device.processor.pace_of(dtype.name, self.target.text)

    @property
    def update(self) -> Update:
        """How the optimizer updates parameters on the target."""
        return self.optimizer.update_on(self.target)
