"""What all forms share: the weight's gradient reads tensors that are made of the input, in place of the input."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, ClassVar

from ...graph.op import Casts, Op, Stock
from ...targets.setting import Setting
from ..lean import Place, stands_for


class LeanOnly(Op):
    """A layer that keeps something else than any stock module does."""

    #: What it keeps for its weight's gradient: extras, or operands.
    form: ClassVar[tuple[str, ...]]
    #: How it keeps its input, in words, as the end of a sentence.
    in_words: ClassVar[str]

    stock = Stock(in_python=True)


class Formed(LeanOnly):
    """A layer whose weight's gradient reads a form of its input."""

    casts = Casts.INSIDE

    def needs(self) -> dict[str, tuple[str, ...]]:
        return {**super().needs(), "weight": self.form}

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        return self.needs()

    def saves_late(self, operands: Set[str]) -> bool:
        return True

    def modelled(self, setting: Setting, y: Any, *xs: Any) -> Any:
        # The rules were written for 32 bits, contiguous.
        usual = not (setting.layouts or setting.gradient or setting.target.channels_last or setting.casts_parameters)
        return usual and setting.item >= 4 and super().modelled(setting, y, *xs)


@stands_for(Formed)
def lean_formed(stock: Formed, place: Place) -> Op | None:
    return None  # it is lean itself
