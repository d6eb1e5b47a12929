"""The losses that have a name in a request, and the place of those that people wrote."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import CostmodelError, unknown
from ._loss import Loss
from .class_loss import CrossEntropy
from .value_loss import BinaryCrossEntropy, MeanSquaredError


class OwnLoss(NamedTuple):
    """A loss that people wrote and that was traced with the network: its name."""

    name: str

    def __str__(self) -> str:
        return self.name


USUAL_LOSS = CrossEntropy()
#: The losses that have a name in a request.
LOSSES: dict[str, type[Loss]] = {one.kind: one for one in (CrossEntropy, BinaryCrossEntropy, MeanSquaredError)}


def find_loss(text: Any) -> Loss:
    """The loss of a text: cross_entropy[,label_smoothing=E], bce or mse. Raises CostmodelError."""
    if not isinstance(text, str):
        raise unknown("loss", text, LOSSES)
    name, *options = text.split(",")
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    allowed = LOSSES[name].options
    given: dict[str, float] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in allowed:
            raise CostmodelError(f"loss {text!r}: {unknown(f'option of {name}', key, allowed)}")
        try:
            given[key] = float(value)
        except ValueError:
            raise CostmodelError(f"loss {text!r}: {key} is {value!r}; allowed: a number") from None
    return LOSSES[name](**given)
