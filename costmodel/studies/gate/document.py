"""The JSON document of `costmodel check`: written for programs, and read again to tell what changed since."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...errors import CostmodelError
from ...files.reading import text_of
from ...version import __version__
from .differences import REQUEST, Difference, Since, Then, quantities_of
from .results import Result
from .settings import shown

SCHEMA = "costmodel.check/1"


def document(path: str, results: Sequence[Result], changed: Since) -> dict[str, Any]:
    """The document of all results. path: of the file with the budgets."""
    return {
        "schema": SCHEMA,
        "costmodel": __version__,
        "config": path,
        "fits": all(result.fits for result in results),
        "checks": [{**entry(result), **before(changed.of(result))} for result in results],
    }


def entry(result: Result) -> dict[str, Any]:
    """A result in the document."""
    check, found = result.check, result.estimate
    if found is None:
        return {"name": check.name, "error": result.error}
    return {
        "name": check.name,
        "budget_bytes": check.budget,
        "peak_bytes": found.peak_bytes,
        "headroom_bytes": result.headroom,
        "fits": result.fits,
        **found.to_dict(),
        "network": check.asked["network"],
    }


def before(difference: Difference | None) -> dict[str, Any]:
    """A difference in the document."""
    if difference is None:
        return {}
    request = {key: then for key, then, _ in difference.request}
    changes = [change._asdict() for change in difference.changes]
    return {"before": {"peak_bytes": difference.peak_bytes, **request}, "changes": changes}


def read_document(path: str) -> dict[str, Then]:
    """The checks of a document by name, without those that had an error.

    Raises CostmodelError, with the place, if this is no document of this schema.
    """
    try:
        data = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise CostmodelError(f"{path}: not valid JSON: {error}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        found = "no schema" if schema is None else f"schema {shown(schema)}"
        wrote = "what `costmodel check --format json` wrote"
        raise CostmodelError(f"{path}: found {found}; allowed: {wrote}, schema {SCHEMA!r}")
    return {
        check.text("name"): Then(
            {key: check.value.get(key) for key in REQUEST},
            check.integer("peak_bytes"),
            {block.text("name"): quantities_of(block.integer) for block in check.items("blocks")},
        )
        for check in _Place(path, data).items("checks")
        if "error" not in check.value
    }


class _Place(NamedTuple):
    """A mapping in a document, and where it stands."""

    path: str
    value: dict[str, Any]
    place: str = ""

    def error(self, key: str, allowed: str) -> CostmodelError:
        found = shown(self.value[key]) if key in self.value else "nothing"
        return CostmodelError(f"{self.path}, {self.place}{key}: found {found}; allowed: {allowed}")

    def text(self, key: str) -> str:
        if not isinstance(self.value.get(key), str):
            raise self.error(key, "a text")
        return self.value[key]

    def integer(self, key: str) -> int:
        value = self.value.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
            raise self.error(key, "an integer from 0 to 2^63 - 1")
        return value

    def items(self, key: str) -> list[_Place]:
        values = self.value.get(key)
        if not isinstance(values, list) or not all(isinstance(item, dict) for item in values):
            raise self.error(key, "a list of mappings")
        return [_Place(self.path, item, f"{self.place}{key}[{i}].") for i, item in enumerate(values)]
