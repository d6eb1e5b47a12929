"""Tables of vectors that are looked up by whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import Op, Work, check, op
from ..sizes.size import Shape, numel
from ..targets.memory_order import MemoryOrder, contiguous


@op("embedding")
class Embedding(Op):
    """torch.nn.Embedding: a row of the weight (rows, features) for each index: (...) -> (..., features).

    The weight's gradient reads the indices, and is as large as the weight.
    """

    rows: int
    features: int

    inputs = ("at",)
    shape_only = ("at",)
    input_bits = {"at": 64}

    def __post_init__(self) -> None:
        for name in ("rows", "features"):
            check(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; allowed: >= 1")

    def params(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.rows, self.features)}

    def shape(self, at: Shape) -> Shape:
        return (*at, self.features)

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return contiguous(axes)

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {"weight": ("at",)}

    def work(self, y: Shape, at: Shape) -> dict[str, Work]:
        return {"forward": Work(), "weight": Work(0, numel(y))}

    def module(self, library: Any) -> Callable:
        return library.nn.Embedding(self.rows, self.features)


Embedding.examples = ((Embedding(9, 4), (3, 5)), (Embedding(6, 8), (7,)))
