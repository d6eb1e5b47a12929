"""Runs other people's code: whatever it raises becomes one message, with the line of theirs that raised it."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ...errors import CostmodelError

T = TypeVar("T")
#: What other people's code may raise by itself; an interruption comes from outside.
RAISED = (Exception, SystemExit, GeneratorExit)
PACKAGE = Path(__file__).parent.parent.parent
STANDARD_LIBRARY = Path(inspect.__file__).parent


def run(text: str, call: Callable[[], T]) -> T:
    """The result of a call. Raises CostmodelError for whatever the call raises, except for an interruption.

    text: what fails, in the message.
    """
    try:
        return call()
    except CostmodelError:
        raise
    except RAISED as error:
        raise failed(text, error) from None


def said_by(thing: Any, name: str) -> Any:
    """What a thing says of itself under a name; None if nothing, whatever its own `__getattr__` raises."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


def failed(text: str, error: BaseException) -> CostmodelError:
    """The message for what other people's code raised."""
    return CostmodelError(f"{text} fails: {in_words(error)}")


def in_words(error: BaseException, what: str = "") -> str:
    """The place, the type and the message of an exception, on one line.

    what: instead of the type and the message. The place is the innermost line of a file that belongs neither to this
    package nor, if there is any other, to an installed one.
    """
    said = _said(error)
    if isinstance(error, SyntaxError) and error.filename:
        file, line, said = error.filename, error.lineno, error.msg
    else:
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        theirs = [
            frame for frame in frames if not frame[0].startswith("<") and not Path(frame[0]).is_relative_to(PACKAGE)
        ]
        own = [frame for frame in theirs if not _is_installed(Path(frame[0]))] or theirs
        file, line = own[-1] if own else ("", None)
    what = what or type(error).__name__ + (f": {said}" if said else "")
    if isinstance(error, SystemExit):
        what = f"it exits ({what})"
    return f"{_short(Path(file))}, line {line}: {what}" if file else what


def _said(error: BaseException) -> str:
    """The message of an exception on one line."""
    try:
        return " ".join(str(error).split())
    except Exception:  # an exception of other people's, too
        return "its message cannot be printed"


def _is_installed(path: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & {*path.parts}) or path.is_relative_to(STANDARD_LIBRARY)


def _short(path: Path) -> Path:
    """A path relative to the current folder if it is in there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
