"""What commands ask of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def usual_of(network: Any) -> Sequence[str]:
    """The strategies that fit a network; without a layer graph those that a dry step can tell of."""
    from ..step.checking import SETTINGS
    from ..strategies import usual

    return tuple(SETTINGS) if network.untraceable else usual(network.graph)
