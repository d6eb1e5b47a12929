"""`mobiletl:K`: as `blocks:K`, but cheaper in the trained blocks (Chiang, Frumkin, Liang, Marculescu, AAAI 2023).

In each trained block every norm but the last trains only its shift, on frozen statistics, so its input is not needed.
Every activation outside squeeze-and-excite passes the gradient where its input was >= 0, so at most a bit per element
is needed. The block's last norm, squeeze-and-excite, the head and the classifier train as usual.
"""

from __future__ import annotations

from ..graph.graph import Graph
from ._lighter import lighter
from ._option_values import one_of
from ._registry import strategy
from .blocks import last_blocks


@strategy(
    "mobiletl",
    "as blocks:K, but inner norms train only their shift and activations pass gradients by sign (MobileTL)",
    blocks=True,
    options={"norm": one_of("shift", "scale", "full"), "act": one_of("signed", "exact")},
)
def mobiletl(graph: Graph, blocks: int, norm: str = "shift", act: str = "signed") -> Graph:
    """norm=full leaves the norms as in `blocks:K`, act=exact the activations; each gives one half of the method.

    norm=scale trains scale and shift of inner norms, on frozen statistics. With act=exact too, nothing is approximated,
    and lean modules keep no more for it: the norm's input, from which the rest is made again.
    """
    return lighter(last_blocks(graph, blocks=blocks), graph.blocks[-blocks:], norm, act)
