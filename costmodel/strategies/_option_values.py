"""Parsers of the values of options; each raises ValueError, which says what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
DIGITS = 6  # of an integer at most


def one_of(*allowed: Value) -> Callable[[str], Value]:
    """A parser of an option with a few allowed words or numbers."""
    by_text = {str(value): value for value in allowed}

    def read(text: str) -> Value:
        if text not in by_text:
            raise ValueError(", ".join(by_text))
        return by_text[text]

    return read


def on(text: str) -> bool:
    """Parser of an option that is off, 0, or on, 1."""
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


def at_least(least: int, in_words: str = "") -> Callable[[str], int]:
    """A parser of an integer. in_words: what it is."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]+", text) or len(text) <= DIGITS and int(text) < least:
            raise ValueError(f"an integer >= {least}{in_words and ', '}{in_words}")
        if len(text) > DIGITS:
            raise ValueError(f"an integer from {least} to {10**DIGITS - 1:,}{in_words and ', '}{in_words}")
        return int(text)

    return read
