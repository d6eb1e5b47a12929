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
        Column("step peak, predicted", _thousands),
        Column("measured", _thousands),
        Column("error", lambda share: f"{share:+.4%}" if share else "0"),
        Column("verdict", right=False),
    ]
    return Table("", columns, [_row(*result) for result in results])


def _row(network: str, strategy: str, batch: int, resolution: int, checks: Sequence[Any]) -> List[Any]:
    by_name = {check.quantity: check for check in checks}
    saved, peak = by_name["saved_bytes"], by_name["step_peak_bytes"]
    wrong = [check.quantity for check in checks if not check.holds]
    verdict = f"wrong: {', '.join(wrong)}" if wrong else "holds"
    return [
        network, strategy, batch, resolution,
        saved.predicted, saved.measured, saved.error,
        peak.predicted, peak.measured, peak.error / peak.measured if peak.measured else 0, verdict,
    ]  # fmt: skip


def _thousands(count: int) -> str:
    return f"{count:,}"
