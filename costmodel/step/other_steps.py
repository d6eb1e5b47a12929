"""What a dry step tells of the steps to which its figures do not apply."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph.dry import DryStep
from ..sizes.units import show_size

NAMED = 3  # paths that a sentence names


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
    if dry.fused:
        said.append(
            f"In evaluation torch runs {_some(dry.fused)} by one fused kernel, whose memory is not modelled;"
            " the figures are those of its parts, as after torch.backends.mha.set_fastpath_enabled(False)."
        )
    if dry.counters:
        why = "where its forward depends on that, later steps differ"
        said.append(f"The module changes {_some(dry.counters)} in each step: {why}.")
    return tuple(said)


def _some(paths: Sequence[str]) -> str:
    """The first of some paths, for people."""
    return ", ".join(path or "the network" for path in paths[:NAMED]) + " and more" * (len(paths) > NAMED)
