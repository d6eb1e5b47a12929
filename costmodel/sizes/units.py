"""Sizes as people read and write them: MB is 10^6 bytes, MiB is 2^20 bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import floor, log10

from ..errors import CostmodelError
from .size import LARGEST, is_int

BYTES = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


#: Units as people write them, in lower case: MB and M are the same, as are MiB and Mi.
_UNITS = {short: factor for unit, factor in BYTES.items() for short in (unit.lower(), unit.lower().rstrip("b"))}
_SIZE = re.compile(
    r"\s*(?P<whole>\d{0,19})(?:\.(?P<fraction>\d{1,9}))?\s*(?P<unit>[a-z]*)\s*", re.ASCII | re.IGNORECASE
)


def parse_size(text: str, what: str = "budget") -> int:
    """Bytes of a size as people write it: 64MB, 64M, 256MiB, 256Mi, .5GB, 64000000. Part of a byte is left out.

    Raises CostmodelError for any other text.
    """
    match = _SIZE.fullmatch(text)
    whole, fraction, unit = match.group("whole", "fraction", "unit") if match else ("", None, "")
    if not (whole or fraction) or unit.lower() not in _UNITS or (fraction and not unit):
        allowed = (
            "bytes, or a number and one of kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers of 1024), the B"
            " left out or not, as in 64MB, 256Mi or 64000000"
        )
        raise CostmodelError(f"{what} is {text!r}; allowed: {allowed}")
    factor = _UNITS[unit.lower()]
    size = int(whole or "0") * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)
    if not 0 < size <= LARGEST:
        raise CostmodelError(f"{what} is {text!r}; allowed: at least 1 B and below 2^63 B")
    return size


def in_bytes(budget: int | str) -> int:
    """A budget in bytes. Raises CostmodelError unless it is an integer >= 1 or a size's text."""
    if isinstance(budget, str):
        return parse_size(budget)
    if not is_int(budget) or budget < 1:
        raise CostmodelError(f"budget is {budget!r}; allowed: a number of bytes >= 1, or a text such as '256MiB'")
    return int(budget)


def unit_of(largest: int) -> str:
    """The decimal unit for a column of sizes with this largest entry."""
    return next((unit for unit in ("GB", "MB", "kB") if largest >= BYTES[unit]), "B")


def in_unit(size: int, unit: str) -> str:
    """A size in a unit, without its name: '70.84'. Below 1 it has three significant digits: '0.0154', to 6 places."""
    if unit == "B" or not size:
        return f"{size:,}"
    value = size / BYTES[unit]
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.{min(2 - floor(log10(abs(value))), 6)}f}"


def show_size(size: int) -> str:
    """A size with its unit: '70.84 MB'."""
    unit = unit_of(abs(size))
    return f"{in_unit(size, unit)} {unit}"


def in_three_digits(value: float, units: Mapping[str, float]) -> str:
    """A number in the largest of some units in which it is at least 1, with three digits: '14.6 s', '350 ms'."""
    unit = next((unit for unit, factor in units.items() if value >= factor), list(units)[-1])
    return f"{float(f'{value / units[unit]:.3g}'):,g} {unit}"


def show_seconds(seconds: float) -> str:
    """A time with its unit: '14.6 s', '350 ms', '2.25 h'."""
    return in_three_digits(seconds, {"days": 2 * 86_400.0, "h": 3_600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6})


def show_joules(joules: float) -> str:
    """An energy with its unit: '105 J', '1.3 kJ'."""
    return in_three_digits(joules, {"MJ": 1e6, "kJ": 1e3, "J": 1.0, "mJ": 1e-3})


def written(size: int) -> str:
    """A size as people would write it, exactly: '64MB', '256MiB', '1000001B'."""
    whole = [(name, factor) for name, factor in BYTES.items() if size % factor == 0]
    name, factor = max(whole, key=lambda item: item[1])
    return f"{size // factor}{name}"


def show_count(count: float) -> str:
    """A count as text: '4.81 G', '3.50 M'."""
    for letter, factor in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= factor:
            return f"{count / factor:,.2f} {letter}"
    return f"{count}"
