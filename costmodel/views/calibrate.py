"""What a calibration found: how single layers compare with the machine's rates, and how far whole steps are off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..sizes.units import show_seconds
from .device import IN_WORDS
from .table import Column, Lines, Table, words

PASS_IN_WORDS = {
    "forward": "forward", "input": "gradient of the input", "weight": "gradient of the weights",
    "backward": "backward", "again": "made again", "update": "update",
}  # fmt: skip


def calibration_record(found: Any, output: str | None) -> dict[str, Any]:
    """A calibration as one JSON document."""
    pace = found.pace
    return {
        "target": pace.target,
        "framework": pace.framework,
        "flops_per_second": pace.arithmetic,
        "bytes_per_second": pace.bandwidth,
        "overhead_seconds": pace.overhead,
        "python_overhead_seconds": pace.python_overhead,
        "cold_bytes_per_second": pace.cold or None,
        "factors": dict(pace.factors),
        "error_share": pace.mape,
        "noise_share": found.noise,
        "steps": [
            {"network": one.network, "strategy": one.strategy, "measured_seconds": one.seconds,
             "step_seconds": told(found, one)}
            for one in found.steps
        ],
        "output": output,
    }  # fmt: skip


def told(found: Any, step: Any) -> float:
    """The seconds that the constants tell of a step."""
    return float(sum(map(found.pace.seconds_of, step.passes)))


def calibration_tables(found: Sequence[Any], output: str | None) -> Lines:
    """Tables of the layers and of the steps of each calibration, and notes."""
    each = [calibration_table(one) for one in found]
    notes = [*(note for _, of_one in each for note in of_one)]
    if output:
        notes.append(f"--device {output} tells the time of steps on this machine.")
    return [table for tables, _ in each for table in tables], notes


def calibration_table(found: Any) -> Lines:
    """Tables of the layers and of the steps, and notes."""
    pace = found.pace
    layers = Table(
        pace.target,
        [words("kernels", "single layers"), words("pass", "pass"), Column("factor", "times", lambda x: f"{x:.3g}")],
        [[IN_WORDS[kind], PASS_IN_WORDS[name], value] for (kind, _, name), value in factors(pace)],
        "layers",
    )
    steps = Table(
        "",
        [
            words("network", "network"),
            words("strategy", "strategy"),
            Column("measured_seconds", "measured", show_seconds),
            Column("step_seconds", "told", show_seconds),
            Column("step_error", "off by", lambda share: f"{100 * share:+.0f} %"),
        ],
        [[s.network, s.strategy, s.seconds, told(found, s), told(found, s) / s.seconds - 1] for s in found.steps],
        "steps",
    )
    cold = f", and {pace.cold / 1e9:.3g} GB/s more for what is in no cache" if pace.cold else ""
    notes = [
        f"{pace.target}: times are multiples of {pace.arithmetic / 1e9:.4g} GFLOP/s and {pace.bandwidth / 1e9:.3g} GB/s"
        f"{cold}. A pass takes {show_seconds(pace.overhead)} besides; a function in Python takes"
        f" {show_seconds(pace.python_overhead)} more.",
        f"The mean error is {100 * pace.mape:.3g} %: {pace.error}. Other work slowed reference kernels by"
        f" {100 * found.noise:.2g} %.",
    ]
    return [layers, steps], notes


def factors(pace: Any) -> list[tuple[tuple[str, str, str], float]]:
    """The factors by kind of kernels and pass."""
    return [((key.partition(".")), value) for key, value in sorted(pace.factors.items())]


def doubts(found: Sequence[Any]) -> list[str]:
    """Why constants are not to be trusted; nothing if they are."""
    return [
        f"{one.pace.target}: other work slowed the reference kernels by {100 * one.noise:.0f} %, which is too much: do"
        " not trust these constants, and calibrate again when the machine is at rest."
        for one in found
        if one.is_too_noisy
    ]
