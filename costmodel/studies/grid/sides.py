"""The graph for each resolution of a sweep: a module's code may do something else for images of another size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import CostmodelError
from ...graph.network import Network
from .plane import pixels

MOST = 32  # resolutions at which a module is traced


def networks_at(network: Network, sides: Sequence[Any]) -> dict[Any, Network]:
    """The network for each resolution: one network wherever its layers are the same.

    Of more than MOST resolutions, the smallest and the largest are traced. Raises CostmodelError if the layers differ
    there.
    """
    if network.retrace is None or len(sides) == 1 and sides[0] == network.resolution:
        return dict.fromkeys(sides, network)
    few = len(sides) <= MOST
    found = dict.fromkeys(sides, network)
    for side in sides if few else (min(sides, key=pixels), max(sides, key=pixels)):
        there = network.at(side)
        same = next((one for one in found.values() if one.graph.nodes == there.graph.nodes), None)
        if same is None and not few:
            raise CostmodelError(
                f"{network.name}: its layers depend on the images' size; allowed: at most {MOST} resolutions in a sweep"
            )
        found[side] = same or there
    return found
