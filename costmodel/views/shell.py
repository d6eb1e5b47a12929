"""The command line that asks a question, as people would write it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ..step.request import DEFAULTS


def command_line(command: str, network: str, options: Mapping[str, Any], *more: str) -> str:
    """A command with a network and options by the names of their arguments, without those at their defaults."""
    words = ["costmodel", command, network]
    for key, value in options.items():
        if key == "check":
            words += [] if value else ["--no-check"]
        elif key == "inputs":
            words += [word for one in value or () for word in ("--input", str(one))]
        elif value not in (DEFAULTS.get(key), None, "", False):
            words += [f"--{key.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join([*words, *more])
