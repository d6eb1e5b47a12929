"""Results of torch's functions that no op of the graph makes, and that most networks do not use: any use is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .recorder import Recorder

#: What Python asks of a value by operators and built-in functions, which does not pass through `__getattr__`.
ASKED_BY_PYTHON = (
    *(f"__{name}__" for name in "eq ne lt le gt ge neg pos abs invert bool int float index len iter getitem".split()),
    *(f"__{name}__" for name in "contains setitem enter".split()),
    *(f"__{r}{name}__" for r in ("", "r") for name in "add sub mul truediv floordiv mod pow matmul and or xor".split()),
)


class NotFollowed:
    """Stands for a result that the graph has not. use: what it is to use it, in words."""

    def __init__(self, t: Recorder, use: str) -> None:
        self._t, self._use = t, use

    def __getattr__(self, name: str) -> Any:
        raise self._t.error(self._use)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        for one in _found_in([*args, *(kwargs or {}).values()]):
            one._refuse()

    def _refuse(self, *_: Any) -> Any:
        raise self._t.error(self._use)

    __hash__ = object.__hash__


def _found_in(value: Any) -> Iterator[NotFollowed]:
    """Those among nested arguments."""
    if isinstance(value, NotFollowed):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _found_in(one)


_refuse: Callable[..., Any] = NotFollowed._refuse
for _name in ASKED_BY_PYTHON:
    setattr(NotFollowed, _name, _refuse)
