"""Writes a machine's constants as a device's file, which `--device FILE` reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..files.document import write
from .pace import Pace


def device_text(title: str, memory_bytes: int, system_bytes: int, paces: Sequence[Pace]) -> str:
    """A device's file. memory_bytes, system_bytes: of the machine, and taken of it at rest. paces: at least one."""
    usual = paces[0]
    about = {"source": usual.source}
    document = {
        "title": title,
        "kind": "board",
        "memory": {"value": [f"{memory_bytes}B"], **about},
        "system": {"value": f"{system_bytes}B", **about},
        "processors": {
            "cpu": {
                "target": usual.target,
                "peak": {usual.dtype: {"value": gflops(usual.arithmetic), **about}},
                "bandwidth": {"value": gigabytes(usual.bandwidth), **about},
                "paces": [constants(pace) for pace in paces],
            }
        },
    }
    return write(document) + "\n"


def constants(pace: Pace) -> dict[str, Any]:
    """Fitted constants, as a file has them."""
    return {
        "target": pace.target,
        "dtype": pace.dtype,
        "framework": pace.framework,
        "arithmetic": gflops(pace.arithmetic),
        "bandwidth": gigabytes(pace.bandwidth),
        "overhead_us": three(1e6 * pace.overhead),
        "python_overhead_us": three(1e6 * pace.python_overhead),
        **({"cold": gigabytes(pace.cold)} if pace.cold else {}),
        "factors": {key: three(value) for key, value in sorted(pace.factors.items())},
        "error_percent": three(100 * (pace.mape or 0.0)),
        "error": pace.error,
        "source": pace.source,
    }


def gflops(value: float) -> str:
    """A rate of arithmetic as a text."""
    return f"{value / 1e9:.4g} GFLOP/s"


def gigabytes(value: float) -> str:
    """A bandwidth as a text."""
    return f"{value / 1e9:.4g} GB/s"


def three(value: float) -> float:
    """A number to three digits."""
    return float(f"{value:.3g}")
