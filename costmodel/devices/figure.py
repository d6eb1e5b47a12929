"""A figure of a device, and where it is from."""

from __future__ import annotations

from typing import Any, NamedTuple


class Figure(NamedTuple):
    """A figure of a device. source: where it stands; unsourced: what was assumed, since no source was found."""

    value: Any
    source: str = ""
    unsourced: str = ""

    @property
    def origin(self) -> str:
        """Where it is from, in words."""
        return self.source or f"unsourced: {self.unsourced}"
