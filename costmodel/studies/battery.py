"""Batteries as people name them."""

from __future__ import annotations

import re

from ..errors import CostmodelError

#: Volts of a lithium-ion cell, at which a phone's milliampere-hours are stated.
CELL_VOLTS = 3.7
JOULES_PER_WATT_HOUR = 3600.0

_BATTERY = re.compile(r"\s*(?P<number>\d{1,9}(\.\d{1,3})?)\s*(?P<unit>mAh|Ah|Wh)\s*", re.ASCII | re.IGNORECASE)


def read_battery(text: str) -> float:
    """Watt-hours of a battery: 18.5Wh, or 5000mAh of one cell. Raises CostmodelError for any other text."""
    match = _BATTERY.fullmatch(text)
    number = float(match["number"]) if match else 0.0
    if match is None or number <= 0:
        raise CostmodelError(f"battery is {text!r}; allowed: mAh or Ah of one cell at {CELL_VOLTS} V, or Wh: 5000mAh")
    factor = {"mah": CELL_VOLTS / 1000, "ah": CELL_VOLTS, "wh": 1.0}[match["unit"].lower()]
    return number * factor
