"""Predicted beside measured."""

from __future__ import annotations

from typing import Any, List, Sequence

from .table import Column, Table


def validation(results: Sequence[Sequence[Any]]) -> Table:
    """A line per case: (network, strategy, batch, resolution, checks). The error is predicted minus measured."""
    columns = [
        Column("network", right=False),
        Column("strategy", right=False),
        Column("batch"),
        Column("resolution"),
        Column("saved, predicted", _thousands),
        Column("measured", _thousands),
        Column("error", _thousands),
        Column("verdict", right=False),
    ]
    return Table("", columns, [_row(*result) for result in results])


def _row(network: str, strategy: str, batch: int, resolution: int, checks: Sequence[Any]) -> List[Any]:
    saved = next(check for check in checks if check.quantity == "saved_bytes")
    wrong = [check.quantity for check in checks if not check.holds]
    verdict = f"wrong: {', '.join(wrong)}" if wrong else "holds"
    return [
        network, strategy, batch, resolution,
        saved.predicted, saved.measured, saved.predicted - saved.measured, verdict,
    ]  # fmt: skip


def _thousands(count: int) -> str:
    return f"{count:,}"
