"""What was asked for, of a step that is priced."""

from __future__ import annotations

from ..notebook import Shown
from ..sizes.size import Shape, Size
from .request import Request


class Asked(Shown):
    """What was asked for, of a step that is priced."""

    request: Request
    shapes: tuple[Shape, ...]

    @property
    def strategy(self) -> str:
        """The strategy's text, as in the request."""
        return str(self.request.strategy)

    @property
    def convention(self) -> str:
        """The convention's name."""
        return self.request.convention

    @property
    def batch(self) -> Size:
        """Images in a (micro-)step."""
        return self.request.batch

    @property
    def input_shape(self) -> tuple[Size, ...]:
        """The shape of the first input, (C, H, W) for images, of one example."""
        return self.shapes[0][1:]
