"""A strategy as people write it, NAME[:ARGUMENT][,key=value...], read once into a value."""

from __future__ import annotations

from typing import NamedTuple


class StrategyText(NamedTuple):
    """The parts of a strategy's text; `str` gives the text again, letter by letter.

    name: of a registered strategy, or the path of a strategy file. argument: the number of blocks, or the letters of
    `plan:CODE`; None without a colon. options: (key, value), the value None without an equals sign.
    """

    name: str
    argument: str | None = None
    options: tuple[tuple[str, str | None], ...] = ()

    def __str__(self) -> str:
        head = self.name if self.argument is None else f"{self.name}:{self.argument}"
        return ",".join([head, *(key if value is None else f"{key}={value}" for key, value in self.options)])

    @property
    def is_file(self) -> bool:
        """Whether it names a file that `costmodel plan` wrote."""
        return self.name.endswith((".yaml", ".yml"))

    @property
    def blocks(self) -> int | None:
        """Its number of blocks; None where the argument is none."""
        argument = self.argument or ""
        return int(argument) if argument.isdecimal() else None

    @property
    def family(self) -> StrategyText:
        """The strategy without its number of blocks: what is left of blocks:3 is `blocks`. All else stays as it is."""
        return self if self.blocks is None else self._replace(argument=None)

    def with_argument(self, argument: object) -> StrategyText:
        """The strategy with another number of blocks, or other letters."""
        return self._replace(argument=str(argument))


def read_text(text: str | StrategyText) -> StrategyText:
    """The parts of a text. Whether there is such a strategy, and what it may be given, is not looked at."""
    if isinstance(text, StrategyText):
        return text
    head, *pairs = text.split(",")
    options = tuple((key, value if equals else None) for key, equals, value in (pair.partition("=") for pair in pairs))
    if head.endswith((".yaml", ".yml")):
        return StrategyText(head, None, options)
    name, colon, argument = head.partition(":")
    return StrategyText(name, argument if colon else None, options)


def split_list(text: str) -> list[str]:
    """The texts of strategies that are joined by commas: a part with an equals sign is an option of the one before."""
    found: list[str] = []
    for part in text.split(","):
        if "=" in part and found:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found
