"""Input that is wrong in ways that nobody thought of: texts and bytes are changed at random, and every command must end
well.

A case is a number: the same number gives the same input. Some run by default, and more with `-m slow`.
"""

import random
import re
import signal
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from commandline import CliRunner

from costmodel.cli import main

MOST_SECONDS = 10  # of processor time for a command: more is a hang
LONGEST = 6000  # characters of a message
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def rounds(often, all_of_them):
    """Numbers of rounds, of which the first few run by default."""
    return [*range(often), *(pytest.param(n, marks=pytest.mark.slow) for n in range(often, all_of_them))]


class Hang(BaseException):
    """A command needed more than MOST_SECONDS."""


@contextmanager
def limited(seconds=MOST_SECONDS):
    """Raises Hang in what needs more processor time. Where the system has no such timer, nothing is limited."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    hung = []

    def hang(number, frame):  # what is raised may be caught, as anything that a network's own code raises
        hung.append(Hang(f"in {frame.f_code.co_filename}:{frame.f_lineno}"))
        raise hung[0]

    before = signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if hung:
        raise hung[0]


class Told(NamedTuple):
    """How a command ended. wrong: what is wrong with that, "" if nothing is."""

    code: int
    stdout: str
    stderr: str
    wrong: str


def run(*arguments):
    """Run a command, which may succeed, or end with exit code 2 and one message."""
    with limited():
        result = CliRunner().invoke(main, [str(one) for one in arguments])
    return Told(result.exit_code, result.stdout, result.stderr, wrong_with(result, arguments[:1] == ("check",)))


def wrong_with(result, beside=False):
    """What is wrong with how a command ended. beside: whether there may be results beside an error."""
    said, error = result.stderr, result.exception
    if error is not None and not isinstance(error, SystemExit):
        return f"a traceback: {type(error).__name__}: {error}"
    if result.exit_code not in (0, 1, 2):
        return f"exit code {result.exit_code}"
    if UNSEEN.search(result.stdout) or UNSEEN.search(said):
        return "unseen characters"
    errors = re.findall("^Error: (.*)", said, re.MULTILINE)
    many = len(errors) != 1 or not errors[0].strip() or len(said) > LONGEST or result.stdout and not beside
    if result.exit_code == 2 and many:
        return f"exit code 2 with {len(errors)} messages, {len(said)} characters, {len(result.stdout)} on stdout"
    return "a message with another exit code" if errors and result.exit_code != 2 else ""


def hold(cases, also=lambda stdout: ()):
    """Run cases, each as (what it is, arguments), and fail with those that did not end well.

    also: what else is wrong with what was printed. Returns the exit codes.
    """
    failed, codes = [], []
    for what, arguments in cases:
        try:
            told = run(*arguments)
        except Hang as error:
            failed.append(f"{what}: hangs {error}")
            continue
        codes.append(told.code)
        wrong = told.wrong or ", ".join(also(told.stdout))
        if wrong:
            failed.append(f"{what}: {wrong}\n{told.stderr[:1000]}")
    assert not failed, f"{len(failed)} of {len(codes)}:\n" + "\n".join(failed[:10])
    return codes


# -- changes at random -------------------------------------------------------------------------------------

NUMBERS = ("0", "-1", "1", "2", "3.5", "-0.0", "1e308", "1e999", ".nan", ".inf", "-.inf", str(2**31), str(2**63 - 1),
           str(2**63), str(10**30), "0x10", "1_000", "08", "9" * 400)  # fmt: skip
VALUES = ("", "null", "true", "''", '"\\0"', "[]", "{}", "[[]]", "[1, 2, 3]", "{a: 1}", "a.b", "..", "\x1b[31m", "é",
          "=1", "!!python/none x", "&a x", "*a", "2026-11-27", "- x", "? y", "x: y", "<b>", "%", "@", "`", "|\n  x",
          "\u202e", "\ud800")  # fmt: skip


def mutant(chance, text, words=()):
    """A text with one to four changes. words: what may stand in the place of a word, beside the text's own words."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        text = chance.choice(CHANGES)(chance, text, words)
    return text


def _lines(chance, text, words):
    """Leave a line out, double it, move it, or indent it otherwise."""
    lines = text.split("\n")
    i, j = chance.randrange(len(lines)), chance.randrange(len(lines))
    how = chance.randrange(5)
    if how == 0:
        del lines[i]
    elif how == 1:
        lines.insert(j, lines[i])
    elif how == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif how == 3:
        lines[i] = " " * chance.randrange(9) + lines[i].lstrip()
    else:
        lines[i] = f"{lines[i]} {lines[j].strip()}"
    return "\n".join(lines)


def _number(chance, text, words):
    return _replaced(chance, text, r"-?\d+(\.\d+)?", NUMBERS)


def _word(chance, text, words):
    return _replaced(chance, text, r"[A-Za-z_]\w*", (*words, *re.findall(r"[A-Za-z_]\w*", text)[:200], *VALUES))


def _value(chance, text, words):
    return _replaced(chance, text, r"(?<=: )[^,}\n]+|(?<== )[^,\n]+", (*VALUES, *NUMBERS))


def _replaced(chance, text, pattern, others):
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    one = chance.choice(found)
    return text[: one.start()] + chance.choice(others) + text[one.end() :]


def _character(chance, text, words):
    i = chance.randrange(len(text) + 1)
    return text[:i] + chance.choice(" \t\n:,-[]{}#&*!|>'\"%@`\x00\x1b\x85\u2028é0") + text[i + chance.randrange(2) :]


def _cut(chance, text, words):
    i = chance.randrange(len(text) + 1)
    return text[:i] if chance.random() < 0.5 else text[i:]


CHANGES = (_lines, _number, _number, _word, _word, _value, _value, _character, _cut)


def damaged(chance, content):
    """Bytes with one to four changes: flipped, cut, doubled, or with others between them."""
    content = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        i, n = chance.randrange(len(content) + 1), chance.choice((1, 1, 2, 8, 64))
        how = chance.randrange(5)
        if how == 0:
            content[i : i + 1] = bytes([chance.randrange(256)])
        elif how == 1:
            del content[i : i + n]
        elif how == 2:
            content[i:i] = content[i : i + n]
        elif how == 3:
            content[i:i] = bytes(chance.randrange(256) for _ in range(n))
        else:
            content[i : i + n] = b"\xff" * n
    return bytes(content)


def chance_of(kind, number):
    """Random numbers that depend on the kind of a case and on its number alone."""
    return random.Random(f"{kind} {number}")


def written(path, text):
    """Write a text as UTF-8, half surrogates too, which are then no UTF-8."""
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path
