"""The one exception, for requests that cannot be answered, and helpers that word its messages."""

from __future__ import annotations

from collections.abc import Iterable

from .escapes import visible


class CostmodelError(ValueError):
    """A bad request. The message says where it is, what was found and what is allowed; the CLI exits with status 2."""

    def __str__(self) -> str:
        return visible(super().__str__(), lines=True)


def check_name(what: str, name: object, allowed: Iterable[str]) -> None:
    """Raise CostmodelError unless `name` is a str and one of the allowed names."""
    if not isinstance(name, str) or name not in allowed:
        raise unknown(what, name, allowed)


def check_one_line(what: str, text: str) -> None:
    """Raise CostmodelError for a text with line ends: it would look like several lines of what is told."""
    if len(text.splitlines()) > 1 or text.endswith("\n"):
        raise CostmodelError(f"{what} {text!r}; allowed: a text on one line")


MOST_NAMES, NEAREST = 80, 40  # of more names, as many that are like the unknown one are said


def unknown(what: str, found: object, allowed: Iterable[str]) -> CostmodelError:
    """The error for a name that is not allowed; it suggests the nearest allowed name."""
    from difflib import get_close_matches

    names = sorted(allowed)
    near = get_close_matches(str(found), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    said, more = names, ""
    if len(names) > MOST_NAMES:
        said = sorted(get_close_matches(str(found), names, n=NEAREST, cutoff=0.0))
        more = f" and {len(names) - NEAREST} more"
    return CostmodelError(f"unknown {what} {found!r}{hint} (allowed: {', '.join(said) or 'none'}{more})")
