"""What a dry step tells of the steps to which its figures do not apply."""

from __future__ import annotations

from ..graph.dry import DryStep
from ..sizes.units import show_size

NAMED = 3  # as many of the numbers that a module changes are named


def unsettled(dry: DryStep) -> list[str]:
    """Why no figures apply to every step, in words; empty if some do."""
    found = []
    if dry.is_random:
        found.append("what runs depends on chance; these figures are of one draw")
    if dry.is_unsteady:
        found.append("each step differs from the one before; these figures are of the second")
    return found


def of_other_steps(dry: DryStep) -> tuple[str, ...]:
    """Sentences for people about a first step that differs, and about later ones that may."""
    said = []
    if dry.first is not None:
        saved, peak, left = map(show_size, dry.first)
        said.append(
            f"The first step differs from later ones, to which these figures apply: it saves {saved}, the tensors' peak"
            f" is {peak}, and it leaves {left}."
        )
    if dry.counters:
        named = ", ".join(dry.counters[:NAMED]) + (" and more" if len(dry.counters) > NAMED else "")
        said.append(f"The module changes {named} in each step: where its forward depends on that, later steps differ.")
    return tuple(said)
