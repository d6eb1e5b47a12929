"""Parses a strategy as people write it, NAME[:ARGUMENT][,key=value...][+MODIFIER...]. It is parsed once, into a value.

A text is split at a + only where the name of a form or modifier follows: `norm+last` is one name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import CostmodelError, check_one_line
from ._registry import MODIFIERS, STRATEGIES


class StrategyText(NamedTuple):
    """A parsed strategy; `str` gives back exactly its text.

    name: name of a registered strategy, or path of a strategy file. argument: the number of blocks, or the letters of
    `plan:CODE`; None without a colon. options: (key, value); the value is None without an equals sign. more: the forms
    and modifiers after it, in order.
    """

    name: str
    argument: str | None = None
    options: tuple[tuple[str, str | None], ...] = ()
    more: tuple[StrategyText, ...] = ()

    def __str__(self) -> str:
        head = self.name if self.argument is None else f"{self.name}:{self.argument}"
        own = ",".join([head, *(key if value is None else f"{key}={value}" for key, value in self.options)])
        return "+".join([own, *map(str, self.more)])

    @property
    def is_file(self) -> bool:
        """Whether the name is a file that `costmodel plan` wrote; a file takes no argument."""
        return self.argument is None and self.name.endswith((".yaml", ".yml"))

    @property
    def blocks(self) -> int | None:
        """The number of blocks; None if the argument is missing or not a number."""
        argument = self.argument or ""
        return int(argument) if argument.isdecimal() else None

    @property
    def family(self) -> StrategyText:
        """The strategy without its number of blocks: `blocks` for blocks:3. Everything else is unchanged."""
        return self if self.blocks is None else self._replace(argument=None)

    def with_option(self, key: str, value: str) -> StrategyText:
        """The strategy with one more option of its own, before its forms and modifiers."""
        return self._replace(options=(*self.options, (key, value)))

    def with_argument(self, argument: object) -> StrategyText:
        """The strategy with another number of blocks, or other letters."""
        return self._replace(argument=str(argument))


def read_text(text: str | StrategyText) -> StrategyText:
    """A strategy's text, parsed. It is not checked whether the strategy exists and takes these options."""
    if isinstance(text, StrategyText):
        return text
    if not isinstance(text, str):
        allowed = "a text such as full or blocks:3, of a plan its `strategy`"
        raise CostmodelError(f"strategy is {type(text).__name__}; allowed: {allowed}")
    check_one_line("strategy", text)
    first, *others = at_modifiers(text)
    return _read(first)._replace(more=tuple(map(_read, others)))


def at_modifiers(text: str) -> list[str]:
    """A strategy's text, split before each form or modifier."""
    first, *rest = text.split("+")
    found = [first]
    for piece in rest:
        if re.split("[:,]", piece, maxsplit=1)[0] in MODIFIERS:
            found.append(piece)
        else:
            found[-1] += f"+{piece}"
    return found


def _read(text: str) -> StrategyText:
    """One part of a strategy's text."""
    head, *pairs = text.split(",")
    options = tuple((key, value if equals else None) for key, equals, value in (pair.partition("=") for pair in pairs))
    name, colon, argument = head.partition(":")
    if head.endswith((".yaml", ".yml")) and not (colon and name in STRATEGIES):  # a scheme may be a file, too
        return StrategyText(head, None, options)
    return StrategyText(name, argument if colon else None, options)


def split_list(text: str) -> list[str]:
    """The strategies in a list joined by commas; a piece with an equals sign is an option of the strategy before it."""
    found: list[str] = []
    for part in text.split(","):
        if "=" in part and found:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found
