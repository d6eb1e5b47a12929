"""What `costmodel check` shows people: a table of budgets, which blocks keep most, and which grew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..sizes.units import in_unit, unit_of
from ..step.estimate import Estimate
from ..studies.gate.differences import Change, Difference, Since
from ..studies.gate.results import Result
from .check_words import SHOWN, keepers, moved, peak_sentences, report_command, summary, unlike, verdict
from .records import part_record, step_record, table_of, within
from .shared import detected_note
from .table import Column, Lines, Table, hidden, words, yes_or_no

#: Rows of a table of blocks that people see.
MOST = 8
#: Keys of a request that have a column only where checks differ in them; else a note has them.
SETTINGS = ("resolution", "convention", "optimizer", "dtype", "amp", "accumulate", "target")


def check_report(results: Sequence[Result], changed: Since, why: bool, form: str) -> Lines:
    """Tables and notes: of all results; why: of what keeps most where a budget does not hold; of what changed.

    Errors are among the notes, unless this is a terminal's table: there they are on stderr.
    """
    tables, notes = [results_table(results, changed)], []
    for result in results:
        difference = changed.of(result)
        if result.estimate is None and form != "table":
            notes.append(result.error)
        if why and result.estimate is not None and not result.fits:
            tables.append(keepers_table(result, result.estimate, whole=form == "csv"))
            where = f"{result.check.name}: {' '.join(peak_sentences(result.estimate))}"
            notes.append(f"{where}\nWhat would fit:\n    {report_command(result)}")
        if difference is not None and difference.changes:
            tables.append(changes_table(result, difference, changed.path, whole=form == "csv"))
    targets = [result.estimate.request.target for result in results if result.estimate is not None]
    found = next((note for target in targets for note in detected_note(target)), None)
    return tables, [*notes, *settings_note(results), *unlike(results, changed), *([found] if found else [])]


def results_table(results: Sequence[Result], changed: Since) -> Table:
    """A table with a row per check: the peak, the budget, and whether it holds; above it how many do."""
    records = [record(result, changed.of(result)) for result in results]
    keys = list(dict.fromkeys(key for one in records for key in one))
    there = [one for one in records if one["error"] is None]
    unit = unit_of(max((max(one["budget_bytes"], one["peak_bytes"]) for one in there), default=0))
    size = _sizes(unit)
    own = (
        set() if any("resolution" in result.check.asked for result in results) else {"resolution"}
    )  # the networks' own
    seen = [
        words("check", "check"),
        words("network", "network"),
        words("strategy", "strategy"),
        Column("batch", "batch"),
        *(words(key, key) for key in SETTINGS if len({one[key] for one in there}) > 1 and key not in own),
        Column("budget_bytes", f"budget, {unit}", size),
        *([Column("before_peak_bytes", f"before, {unit}", size)] if changed.differences else []),
        Column("peak_bytes", f"peak, {unit}", size),
        Column("headroom_bytes", f"left, {unit}", size),
        yes_or_no("fits", "holds"),
        hidden("error"),
    ]
    rows = [{key: one.get(key) for key in [*_keys(seen), *keys]} for one in records]
    return table_of(rows, seen, summary(results), "checks")


def record(result: Result, difference: Difference | None) -> dict[str, Any]:
    """A result under the names of `schema.py`."""
    check, found = result.check, result.estimate
    if found is None:
        asked = {key: check.asked.get(key) for key in ("network", "strategy", "batch")}
        return {"check": check.name, **asked, "budget_bytes": check.budget or None, "error": result.error}
    return {
        "check": check.name,
        **step_record(found),
        "network": check.asked["network"],
        **within(found, check.budget),
        **({} if difference is None else {"before_peak_bytes": difference.peak_bytes}),
        "error": None,
    }


def settings_note(results: Sequence[Result]) -> list[str]:
    """A note: where the peaks are, and what all checks share."""
    found = [result.estimate for result in results if result.estimate is not None]
    if not found:
        return []
    targets = dict.fromkeys(str(estimate.request.target) for estimate in found)
    records = [step_record(estimate) for estimate in found]
    values = {key: {one[key] for one in records} for key in SETTINGS[1:-1]}
    shared = [f"{key} {records[0][key]}" for key, found in values.items() if len(found) == 1 and found != {None}]
    said = f" For all: {', '.join(shared)}." if shared else ""
    return [f"Peaks are those of: {'; '.join(targets)}.{said}"]


def keepers_table(result: Result, found: Estimate, whole: bool) -> Table:
    """A table of the blocks that keep most for the backward pass."""
    blocks = keepers(found)
    if not blocks:
        return Table(f"{verdict(result)} Nothing is saved for a backward pass.", [words(None, "block")], [])
    unit = unit_of(blocks[0]["saved"])
    seen = [
        words("part", "block"),
        Column("saved_bytes", f"saved, {unit}", _sizes(unit)),
        Column("saved_share", "of all", lambda share: f"{share:.0%}"),
        Column("parameters", "parameters", lambda n: f"{n:,}"),
        Column("trainable_parameters", "trained", lambda n: f"{n:,}" if n else "-"),
    ]
    own = {"check": result.check.name}
    rows = [{**own, **part_record(one), "saved_share": one["saved"] / found.saved_bytes} for one in blocks]
    return _shortened(table_of(rows, seen, f"{verdict(result)} Blocks that keep most:", "blocks"), whole)


def changes_table(result: Result, difference: Difference, since: str, whole: bool) -> Table:
    """A table of the blocks that changed, with their quantities before and now. Those that grew most come first."""
    blocks: dict[str, dict[str, Change]] = {}
    for change in difference.changes:
        blocks.setdefault(change.block, {})[change.quantity] = change
    sizes = [size for c in difference.changes if c.quantity == "saved_bytes" for size in (c.before, c.after) if size]
    unit = unit_of(max(sizes, default=0))
    seen = [words("part", "block")]
    for quantity, (head, show) in SHOWN.items():
        if any(quantity in changes for changes in blocks.values()):
            if quantity == "saved_bytes":
                head, show = f"{head}, {unit}", _sizes(unit)
            seen += [Column(f"before_{quantity}", f"{head}, before", show), Column(quantity, "now", show)]
    rows = []
    for block, changes in sorted(blocks.items(), key=lambda item: [-growth(item[1], quantity) for quantity in SHOWN]):
        cells: dict[str, Any] = {"check": result.check.name, "part": block}
        for quantity, change in changes.items():
            cells |= {f"before_{quantity}": change.before, quantity: change.after}
        rows.append({key: cells.get(key) for key in ["check", *_keys(seen)]})
    title = f"{result.check.name}: what changed since {since}. {moved(result, difference)}"
    return _shortened(table_of(rows, seen, title, "changes"), whole)


def growth(changes: dict[str, Change], quantity: str) -> int:
    """How much more a block has of a quantity."""
    return changes[quantity].growth if quantity in changes else 0


def _keys(columns: Sequence[Column]) -> list[str]:
    return [column.key for column in columns if column.key is not None]


def _sizes(unit: str) -> Callable[[Any], str]:
    return lambda size: in_unit(size, unit)


def _shortened(table: Table, whole: bool) -> Table:
    """A table with its first rows, unless it is asked for as a whole."""
    if whole or len(table.rows) <= MOST:
        return table
    return table._replace(rows=table.rows[:MOST], total=len(table.rows), rest="--format csv or json has all")
