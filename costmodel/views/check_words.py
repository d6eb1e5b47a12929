"""Checks of budgets in sentences: whether they hold, which blocks keep most, and which grew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..sizes.units import show_count, show_size
from ..step.estimate import Estimate
from ..studies.gate.differences import Difference, Since
from ..studies.gate.results import Result
from .report import at_the_peak, peak_note
from .shell import command_line

#: How people read the quantities of a block: their name, and a number. Growth in the first says most.
SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "saved_bytes": ("saved", show_size),
    "parameters": ("parameters", lambda n: f"{n:,}"),
    "step_flops": ("FLOPs", show_count),
}
#: Blocks that sentences name at most.
FIRST = 3


def summary(results: Sequence[Result]) -> str:
    """How many budgets hold, and the names of those that do not."""
    wrong = [result.check.name for result in results if result.estimate is None]
    over = [result.check.name for result in results if result.estimate is not None and not result.fits]
    if not wrong and not over:
        return "The budget holds." if len(results) == 1 else f"All {len(results)} budgets hold."
    one, said = len(results) == 1, []
    if over:
        which = "The budget" if one else f"{len(over)} of {len(results)} budgets"
        said.append(f"{which} {'does' if len(over) == 1 else 'do'} not hold: {', '.join(over)}.")
    if wrong:
        which = "The check" if one else f"{len(wrong)} of {len(results)} checks"
        said.append(f"{which} cannot be priced: {', '.join(wrong)}.")
    return " ".join(said)


def verdict(result: Result) -> str:
    """Whether a check's peak is within its budget, in a sentence."""
    assert result.estimate is not None
    said = result.check.said
    is_decimal = not said.isdecimal() and "i" not in said.lower()
    there = said if is_decimal else f"{said} ({show_size(result.check.budget)})"
    peak, much = show_size(result.estimate.peak_bytes), show_size(abs(result.headroom))
    if result.fits:
        return f"{result.check.name}: the peak of {peak} leaves {much} of {there}."
    return f"{result.check.name}: the peak of {peak} exceeds {there} by {much}."


def sentences(result: Result, changed: Since) -> list[str]:
    """What is to say of a check that does not hold."""
    if result.estimate is None:
        return [result.error]
    said = [verdict(result), *peak_sentences(result.estimate), keepers_sentence(result.estimate)]
    return [*said, *growth_sentences(changed.of(result), changed.path), *result.estimate.notes]


def doubts(results: Sequence[Result]) -> list[str]:
    """Notes: why the figures of checks may be understated."""
    return [f"{one.check.name}: {note}" for one in results if one.estimate is not None for note in one.estimate.notes]


def report_command(result: Result) -> str:
    """The command that tells more of a check, and what would fit."""
    asked = {key: value for key, value in result.check.asked.items() if key != "network"}
    return command_line("report", result.check.asked["network"], asked, "--budget", result.check.said)


def peak_sentences(found: Estimate) -> list[str]:
    """Where the peak is, and what makes up a twentieth of it or more."""
    parts = sorted(at_the_peak(found).items(), key=lambda item: -item[1])
    named = [f"{show_size(size)} {name}" for name, size in parts if 20 * size >= found.peak_bytes]
    return [*peak_note(found), *([f"It is made of {', '.join(named)}."] if named else [])]


def keepers(found: Estimate) -> list[dict[str, Any]]:
    """The entries of the blocks that keep something, those that keep most first."""
    return sorted((one for one in found.blocks if one["saved"]), key=lambda one: -one["saved"])


def keepers_sentence(found: Estimate) -> str:
    """The blocks that keep most: the first, and others that keep a tenth of all."""
    blocks = keepers(found)
    if not blocks:
        return "Nothing is saved for a backward pass."
    most = [blocks[0], *(one for one in blocks[1:FIRST] if 10 * one["saved"] >= found.saved_bytes)]
    named = ", ".join(f"{one['name']} ({show_size(one['saved'])})" for one in most)
    keep = "keeps" if len(most) == 1 else "keep"
    return f"{named} {keep} most of the {show_size(found.saved_bytes)} that are saved for the backward pass."


def growth_sentences(difference: Difference | None, since: str) -> list[str]:
    """The blocks that grew most, a sentence each; none if none grew."""
    grown = {(c.block, c.quantity): c for c in (difference.changes if difference else ()) if c.growth > 0}

    def growths(block: str) -> list[int]:
        return [-grown[block, quantity].growth if (block, quantity) in grown else 0 for quantity in SHOWN]

    said = []
    for block in sorted(dict.fromkeys(block for block, _ in grown), key=growths)[:FIRST]:
        parts = [
            f"{name} {show(grown[block, quantity].before or 0)} -> {show(grown[block, quantity].after)}"
            for quantity, (name, show) in SHOWN.items()
            if (block, quantity) in grown
        ]
        said.append(f"{block} grew since {since}: {', '.join(parts)}.")
    return said


def moved(result: Result, difference: Difference) -> str:
    """What became of a check's peak, and of its request."""
    assert result.estimate is not None
    before, now = difference.peak_bytes, result.estimate.peak_bytes
    peak = f"The peak was {show_size(before)} and is {show_size(now)}." if before != now else "The peak is the same."
    return peak + "".join(f" Its {key} was {_value(old)} and is {_value(new)}." for key, old, new in difference.request)


def unlike(results: Sequence[Result], changed: Since) -> list[str]:
    """A note: the checks in which no block changed, those that are new, and those that are gone."""
    if not changed.path:
        return []
    there = [result for result in results if result.estimate is not None]
    same = [(result, difference) for result in there if (difference := changed.of(result)) and not difference.changes]
    new = [result.check.name for result in there if changed.of(result) is None]
    said = [f"{result.check.name}: no block changed since {changed.path}. {moved(result, one)}" for result, one in same]
    said += [f"Not in {changed.path}: {', '.join(new)}."] if new else []
    said += [f"Only in {changed.path}: {', '.join(changed.gone)}."] if changed.gone else []
    return ["\n".join(said)] if said else []


def _value(value: Any) -> str:
    """A part of a request as people read it."""
    if isinstance(value, list):
        return "x".join(map(str, value))
    return ",".join(f"{key}={one}" for key, one in value.items()) if isinstance(value, dict) else str(value)
