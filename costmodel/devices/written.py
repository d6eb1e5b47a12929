"""Writes a machine's constants as a device's file, which `--device FILE` reads."""

from __future__ import annotations

from typing import Any

from ..files.document import write
from .pace import Pace


def device_text(title: str, memory_bytes: int, system_bytes: int, pace: Pace) -> str:
    """A device's file. memory_bytes, system_bytes: of the machine, and taken of it at rest."""
    about = {"source": pace.source}

    def three(value: float) -> float:
        return float(f"{value:.3g}")

    arithmetic, bandwidth = f"{pace.arithmetic / 1e9:.4g} GFLOP/s", f"{pace.bandwidth / 1e9:.4g} GB/s"
    fitted: dict[str, Any] = {
        "target": pace.target,
        "dtype": pace.dtype,
        "framework": pace.framework,
        "arithmetic": arithmetic,
        "bandwidth": bandwidth,
        "overhead_us": three(1e6 * pace.overhead),
        "python_overhead_us": three(1e6 * pace.python_overhead),
        **({"cold": f"{pace.cold / 1e9:.4g} GB/s"} if pace.cold else {}),
        "factors": {key: three(value) for key, value in sorted(pace.factors.items())},
        "error_percent": three(100 * (pace.mape or 0.0)),
        "error": pace.error,
        "source": pace.source,
    }
    document = {
        "title": title,
        "kind": "board",
        "memory": {"value": [f"{memory_bytes}B"], **about},
        "system": {"value": f"{system_bytes}B", **about},
        "processors": {
            "cpu": {
                "target": pace.target,
                "peak": {pace.dtype: {"value": arithmetic, **about}},
                "bandwidth": {"value": bandwidth, **about},
                "pace": fitted,
            }
        },
    }
    return write(document) + "\n"
