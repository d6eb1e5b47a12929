"""`torch`: what stock PyTorch modules with requires_grad flags really keep."""

from __future__ import annotations

from typing import Iterator

from ..convention import Read, convention, each_read
from ..graph import Graph


@convention("torch", "what stock PyTorch really keeps and allocates", measurable=True)
def torch(graph: Graph) -> Iterator[Read]:
    return each_read(graph, torch=True)
