"""Predicted numbers beside measured ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .table import Column, Table, words


def validation(results: Sequence[Sequence[Any]]) -> Table:
    """A table with a row per case. results: (network, strategy, batch, resolution, checks).

    The error is predicted minus measured.
    """
    columns = [
        words("network", "network"),
        words("strategy", "strategy"),
        Column("batch", "batch"),
        Column("resolution", "resolution"),
        Column("saved_bytes", "saved, predicted", _thousands),
        Column("measured_saved_bytes", "measured", _thousands),
        Column("saved_error_bytes", "error", _thousands),
        Column("step_peak_bytes", "step peak, predicted", _thousands),
        Column("measured_step_peak_bytes", "measured", _thousands),
        Column("step_peak_error", "error", _percent),
        words("verdict", "verdict"),
    ]
    return Table("", columns, [_row(*result) for result in results])


def _row(network: str, strategy: str, batch: int, resolution: int, checks: Sequence[Any]) -> list[Any]:
    by_name = {check.quantity: check for check in checks}
    saved, peak = by_name["saved_bytes"], by_name["step_peak_bytes"]
    return [
        network,
        strategy,
        batch,
        resolution,
        saved.predicted,
        saved.measured,
        saved.error,
        peak.predicted,
        peak.measured,
        _share(peak),
        _verdict(checks),
    ]


def summary_of(results: Sequence[Sequence[Any]]) -> Table:
    """A table with a row per network: the number of cases compared with real runs, and the largest errors in them."""
    cases: dict[str, list[Any]] = {}
    for network, *_, checks in results:
        cases.setdefault(network, []).append({check.quantity: check for check in checks})
    rows = []
    for network, own in cases.items():
        worst = [_worst(own, quantity) for quantity in ("saved_bytes", "forward_flops", "backward_flops")]
        checks = [check for case in own for check in case.values()]
        peak = max((_share(case["step_peak_bytes"]) for case in own), key=abs)
        rows.append(
            [
                network,
                len(own),
                worst[0],
                max(worst[1:], key=abs),
                _worst(own, "tensor_peak_bytes"),
                peak,
                _verdict(checks),
            ]
        )
    columns = [
        words("network", "network"),
        Column("cases", "cases"),
        Column("saved_error_bytes", "saved bytes", _thousands),
        Column("flops_error", "FLOPs", _thousands),
        Column("tensor_peak_error_bytes", "tensors' peak", _thousands),
        Column("step_peak_error", "allocator's peak", _percent),
        words("verdict", "verdict"),
    ]
    return Table("", columns, rows)


def _worst(cases: Sequence[dict[str, Any]], quantity: str) -> int:
    """The largest error; 0 if nothing was measured."""
    return max((case[quantity].error or 0 for case in cases), key=abs)


def _share(peak: Any) -> float:
    return peak.error / peak.measured if peak.measured else 0


def _verdict(checks: Sequence[Any]) -> str:
    wrong = dict.fromkeys(check.quantity for check in checks if not check.holds)
    if wrong:
        return f"wrong: {', '.join(wrong)}"
    return "holds, as a lower bound" if any(check.bound for check in checks) else "holds"


def _percent(share: float) -> str:
    return f"{share:+.4%}" if share else "0"


def _thousands(count: int) -> str:
    return f"{count:,}"
