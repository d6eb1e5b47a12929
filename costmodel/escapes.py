"""Text from outside, such as names of layers and files, made safe to show: in a terminal, in Markdown, in a cell."""

from __future__ import annotations

import re
import unicodedata

#: Unicode's categories of characters that are not seen but do something: they move a terminal's cursor, turn the
#: direction of what follows, end a line.
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
#: How a cell begins that a spreadsheet would take for a formula, behind the quotes that mark it as text.
_FORMULA = re.compile("'*[=+@-]")
#: A quote before such a cell, and the text behind it.
QUOTED = "^'('*[=+@-])"
#: What Markdown reads as markup: an underscore only at the edge of a word.
_MARKUP = re.compile(r"[\\`*\[\]<>|~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#|\w+;)")


def visible(text: str, lines: bool = False) -> str:
    r"""A text with unseen characters written as in Python: "\x1b" for an escape. lines: whether line ends may stay."""
    if text.isprintable():
        return text
    return "".join(c if lines and c == "\n" or not _is_unseen(c) else escaped(c) for c in text)


def _is_unseen(character: str) -> bool:
    return not character.isprintable() and unicodedata.category(character) in UNSEEN


def escaped(character: str) -> str:
    """A character as it is written in Python's source, in ASCII."""
    return character.encode("unicode_escape").decode("ascii")


def in_markdown(text: str) -> str:
    """A text that Markdown shows as it is."""
    return _MARKUP.sub(lambda match: "&amp;" if match[0] == "&" else f"\\{match[0]}", text)


def as_cell(text: str) -> str:
    """A text as a cell of a CSV file: behind a quote if a spreadsheet would take it for a formula."""
    text = visible(text)
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The text of a cell that `as_cell` wrote."""
    return re.sub(QUOTED, r"\1", cell)
