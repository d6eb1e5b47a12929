"""The command line that asks a question, as people would write it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from ..escapes import visible
from ..step.request import DEFAULTS


def command_line(command: str, network: str, options: Mapping[str, Any], *more: str) -> str:
    """A command with a network and options by the names of their arguments, without those at their defaults."""
    words = ["costmodel", command, network]
    device = options.get("device")
    for key, value in options.items():
        if key == "target" and device is not None and value == device.processor.target:
            continue
        if key == "check":
            words += [] if value else ["--no-check"]
        elif key == "inputs":
            words += [word for one in value or () for word in ("--input", str(one))]
        elif value not in (DEFAULTS.get(key), None, "", False) and (key, value) != ("target", "cpu"):
            words += [f"--{key.replace('_', '-')}", *([] if value is True else [str(value)])]
    return " ".join(map(quoted, [*words, *more]))


def quoted(word: str) -> str:
    """A word for a shell; unseen characters, and bytes of a file name that are no text, as escapes of bash and zsh."""
    if visible(word) == word:
        return shlex.quote(word)
    marks = {"'": r"\'", "\\": r"\\"}
    letters = (chr(byte) for byte in os.fsencode(word))
    return (
        "$'"
        + "".join(marks.get(c, c) if c.isascii() and c.isprintable() else f"\\x{ord(c):02x}" for c in letters)
        + "'"
    )
