"""Paths of modules, such as features.1.conv: what is in which, how long and deep they may be, which match a pattern."""

from __future__ import annotations

from functools import lru_cache

from ..errors import CostmodelError

LONGEST, DEEPEST = 1000, 100  # characters and modules of a node's path


def within(name: str, scope: str) -> bool:
    """Whether the node `name` is in the module `scope`, or is called `scope` itself."""
    return name == scope or name.startswith(scope + ".")


@lru_cache(maxsize=2**14)  # a plan asks for the same paths over and over
def prefixes(path: str) -> tuple[str, ...]:
    """A path's prefixes, outermost first, the path itself last: a, a.b, a.b.c."""
    parts = path.split(".") if path else []
    return tuple(".".join(parts[: n + 1]) for n in range(len(parts)))


@lru_cache(maxsize=2**14)
def check_path(name: str) -> None:
    """Raise CostmodelError unless a node's name is a path of a known depth: each of its prefixes is a scope."""
    if len(name) > LONGEST:
        raise CostmodelError(f"a node's name has {len(name):,} characters; allowed: at most {LONGEST}")
    parts = name.split(".")
    if not all(parts) or len(parts) > DEEPEST or len(name.splitlines()) > 1:
        allowed = f"at most {DEEPEST} names joined by single dots, without line ends"
        raise CostmodelError(f"a node is called {name!r}; allowed: {allowed}")


def matches(name: str, pattern: str) -> bool:
    """Whether a name matches a shell's pattern, such as blocks.*. Raises CostmodelError for one that is too long."""
    from fnmatch import fnmatchcase

    if len(pattern) > LONGEST:  # to read a pattern takes the square of its length
        raise CostmodelError(f"a name or pattern of {len(pattern):,} characters; allowed: at most {LONGEST}")
    return fnmatchcase(name, pattern)
