"""Published numbers beside computed ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..studies.papers import Result
from .table import Column, Table, words


def papers(results: Sequence[Result]) -> tuple[Table, list[str]]:
    """A table with a row per claim, and notes with the reasons for tolerances and pending claims."""
    columns = [
        words("paper", "paper"), words("source_table", "table"), words("claim", "claim"), words("strategy", "strategy"),
        words("convention", "convention"), Column("published", "published", _number),
        Column("computed", "computed", _number), words("unit", "unit"), Column("difference", "difference", _difference),
        Column("tolerance", "tolerance", _number), words("verdict", "verdict"),
    ]  # fmt: skip
    return Table("", columns, [_row(result) for result in results]), _notes(results)


def entry(result: Result) -> dict[str, Any]:
    """A result for JSON: the claim, the exact computed number, and that number in the claim's unit."""
    numbers = {"computed": result.computed, "computed_in_unit": result.in_unit, "difference": result.difference}
    return {**result.claim._asdict(), **numbers, "holds": result.holds}


def _row(result: Result) -> list[Any]:
    claim = result.claim
    pending = result.computed is None
    verdict = "pending" if pending else "holds" if result.holds else "wrong"
    strategy = f"{claim.strategy} against {claim.against}" if claim.against else claim.strategy
    return [
        claim.paper,
        claim.table,
        claim.claim,
        strategy,
        claim.convention,
        claim.published,
        result.in_unit,
        claim.unit,
        result.difference,
        None if pending else claim.tolerance,
        verdict,
    ]


def _notes(results: Sequence[Result]) -> list[str]:
    notes: dict[str, None] = {}
    for claim, computed in results:
        what = f"pending: {claim.pending}" if computed is None else f"tolerance: {claim.because}"
        notes[f"{claim.paper}, {claim.table}: {what}."] = None
    return list(notes)


def _number(value: float) -> str:
    return f"{value:,.2f}"


def _difference(value: float) -> str:
    return f"{value:+,.2f}"
