"""A prediction held against a real run."""

from __future__ import annotations

from typing import List, NamedTuple

from ..api import estimate
from ..network import Network
from .measure import measure
from .realize import realize


class Check(NamedTuple):
    """One quantity, predicted and measured."""

    quantity: str
    predicted: int
    measured: int

    @property
    def holds(self) -> bool:
        """Whether the two are equal."""
        return self.predicted == self.measured


def validate(network: Network, strategy: str, batch: int, resolution: int, convention: str = "torch") -> List[Check]:
    """Estimate a step, run it, and put the two side by side. Raises CostmodelError for a bad request."""
    predicted = estimate(network, strategy, batch, resolution, convention)
    measured = measure(realize(network, strategy, convention), batch, resolution, network.channels)
    return [
        Check("saved_bytes", predicted.saved_bytes, measured.saved_bytes),
        Check("parameters", predicted.parameters, measured.parameters),
        Check("trainable_parameters", predicted.trainable_parameters, measured.trainable_parameters),
        Check("forward_flops", predicted.flops["forward"], measured.forward_flops),
        Check("backward_flops", predicted.flops["backward"], measured.backward_flops),
    ]
