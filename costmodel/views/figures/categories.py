"""How each category of a step's memory looks: alike in all figures, apart in grey and to the colour-blind."""

from __future__ import annotations

from typing import Any, NamedTuple

from matplotlib.patches import Patch

from ...errors import check_name
from ...step.events import ACTIVATION_GRADIENTS, ACTIVATIONS, GRADIENTS, LOSS, RECOMPUTED, SAVED, SCRATCH
from .style import GREEN, MAROON, NAVY, ORANGE, PURPLE, SILVER, SKY, YELLOW

RESIDENT = "resident"


class Look(NamedTuple):
    """A colour, a hatch ("" for none) and the words in a legend."""

    colour: str
    hatch: str
    words: str

    def patch(self) -> dict[str, Any]:
        """Arguments of the patches that show it."""
        ink = "#857B00" if self.colour == YELLOW else "white"  # white is not seen on yellow
        return {"facecolor": self.colour, "edgecolor": ink, "hatch": self.hatch or None, "linewidth": 0}


#: In stacking order: the longest lived at the bottom. Neighbours differ in luminance or by a hatch.
LOOKS = {
    RESIDENT: Look(SILVER, "", "parameters, optimizer, images"),
    GRADIENTS: Look(NAVY, "....", "gradients of parameters"),
    SAVED: Look(SKY, "", "saved for backward"),
    RECOMPUTED: Look(YELLOW, "xxxx", "made again in backward"),
    ACTIVATIONS: Look(GREEN, r"\\\\\\", "activations, not saved"),
    ACTIVATION_GRADIENTS: Look(ORANGE, "//////", "gradients of activations"),
    SCRATCH: Look(MAROON, "", "scratch of kernels"),
    LOSS: Look(PURPLE, "", "loss"),
}


def look(category: str) -> Look:
    """How a category looks. Raises CostmodelError for an unknown one, which would be missing from a figure."""
    check_name("category", category, LOOKS)
    return LOOKS[category]


def sample(category: str) -> Patch:
    """A category's sample for a legend."""
    return Patch(label=look(category).words, **look(category).patch())
