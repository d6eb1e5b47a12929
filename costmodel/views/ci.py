"""The results of `costmodel check` for continuous integration: GitHub's workflow commands, and JUnit's XML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from ..studies.gate.differences import Since
from ..studies.gate.results import Result
from .check_words import sentences, verdict

#: What XML 1.0 cannot hold.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def workflow_commands(results: Sequence[Result], changed: Since, path: str) -> str:
    """A line for each check: an annotation where a budget does not hold, else what is left, and an annotation where
    that may be understated.

    path: of the file with the budgets, from the repository's root.
    """
    lines = []
    for result in results:
        if result.estimate is None:
            lines.append(_annotation("error", result, "cannot be priced", sentences(result, changed), path))
        elif not result.fits:
            lines.append(_annotation("error", result, "exceeds its budget", sentences(result, changed), path))
        else:
            lines.append(verdict(result))
            if result.estimate.notes:
                lines.append(_annotation("warning", result, "may be understated", result.estimate.notes, path))
    return "\n".join(lines)


def _annotation(kind: str, result: Result, title: str, said: Sequence[str], path: str) -> str:
    """A workflow command that puts sentences at a check."""
    place = {"file": path, "line": str(result.check.place.line), "title": f"costmodel: {result.check.name} {title}"}
    properties = ",".join(f"{key}={_escaped(value, True)}" for key, value in place.items())
    return f"::{kind} {properties}::{_escaped(chr(10).join(said))}"


def _escaped(text: str, is_property: bool = False) -> str:
    """A text within a workflow command."""
    marks = {"%": "%25", "\r": "%0D", "\n": "%0A", **({":": "%3A", ",": "%2C"} if is_property else {})}
    return "".join(marks.get(mark, mark) for mark in text)


def junit(results: Sequence[Result], changed: Since, path: str) -> str:
    """A test suite as XML: a case for each check, a failure where a budget does not hold, an error where no peak is.

    path: of the file with the budgets, from the repository's root.
    """
    wrong = [result for result in results if result.estimate is None]
    counts = {
        "name": "costmodel check",
        "tests": str(len(results)),
        "failures": str(sum(not result.fits for result in results) - len(wrong)),
        "errors": str(len(wrong)),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {**counts, "skipped": "0"})
    for result in results:
        named = {"classname": _xml(path), "name": _xml(result.check.name), "time": f"{result.seconds:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", named)
        if result.fits:
            out = [verdict(result), *(result.estimate.notes if result.estimate is not None else ())]
            ElementTree.SubElement(case, "system-out").text = _xml("\n".join(out))
            continue
        said = sentences(result, changed)
        kind, name = ("error", "CostmodelError") if result.estimate is None else ("failure", "budget")
        told = ElementTree.SubElement(case, kind, {"message": _xml(said[0]), "type": name})
        told.text = _xml("\n".join(said))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}'


def _xml(text: str) -> str:
    """A text without the characters that XML cannot hold."""
    return _NO_XML.sub("?", text)
