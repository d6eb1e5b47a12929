"""How a command ends. Exit codes: 0; 1 if a budget or a validation does not hold, and nothing else; 2 for a bad
request; 130 if it was interrupted; 141 if nobody reads its output any more.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import click

from .errors import CostmodelError
from .escapes import visible

#: What click before 8.2 has no exception for: no arguments, which it answers with the help.
HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())


class BadRequest(click.ClickException):
    """A bad request: one message on stderr, if there is one that can be written to, and exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        with suppress(OSError):
            click.echo(f"Error: {self.format_message()}", file=file, err=True)


class Interrupted(click.ClickException):
    """Ctrl-C: one line on stderr, exit code 130. The message may say how to go on."""

    exit_code = 130

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "interrupted")

    def show(self, file: IO[Any] | None = None) -> None:
        start = "\n" if sys.stderr.isatty() else ""  # after the terminal's own ^C
        with suppress(OSError):
            click.echo(f"{start}{self.message}", file=file, err=True)


class Closed(click.ClickException):
    """Nobody reads the output any more, as in `costmodel sweep ... | head`: nothing is said, exit code 141."""

    exit_code = 141

    def __init__(self) -> None:
        super().__init__("")

    def show(self, file: IO[Any] | None = None) -> None:
        pass


@contextmanager
def ending() -> Iterator[None]:
    """Turns what can end a command's body into its exit code. What is written to stdout is there in the end."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except CostmodelError as error:
        raise BadRequest(str(error)) from None
    except click.UsageError as error:
        said = visible(error.format_message())
        if said == error.format_message() or isinstance(error, HELP):
            raise
        raise click.UsageError(said, error.ctx) from None
    except KeyboardInterrupt:
        raise Interrupted() from None
    except BrokenPipeError:
        _abandon_stdout()
        raise Closed() from None
    except OSError as error:
        if error.filename is not None:  # no stream: a mistake in this package
            raise
        _abandon_stdout()
        raise BadRequest(f"stdout cannot be written: {error.strerror or error}") from None
    except BaseException as error:
        if isinstance(error, (Exception, SystemExit, GeneratorExit)):
            raise
        said = visible(f"{type(error).__name__}: {error}", lines=True)
        raise BadRequest(f"the network's own code ends with {said}") from None


def ready_streams() -> None:
    """Let stdout and stderr write what their encoding has in place of a character that it lacks, as # for a bar's.

    A process may start without them; then they lead nowhere. ASCII becomes Latin-1, since click takes ASCII for a
    mistake and writes UTF-8.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    codecs.register_error("costmodel.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="latin-1" if is_ascii else stream.encoding, errors="costmodel.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """The error handler: what stands for characters that cannot be encoded."""
    assert isinstance(error, UnicodeEncodeError)
    stands_for = {**dict.fromkeys("\u2588\u2589\u258a\u258b", "#"), **dict.fromkeys("\u258c\u258d\u258e\u258f", ".")}
    return "".join(stands_for.get(c, "?") for c in error.object[error.start : error.end]), error.end


def _abandon_stdout() -> None:
    """Send what is still in stdout's buffer nowhere: else Python fails to write it once more when it exits."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):
        return  # no file: a test's
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
