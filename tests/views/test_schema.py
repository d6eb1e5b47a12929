"""One schema: the names of columns and of keys in lists are the same in all commands, and each is documented."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from commandline import CliRunner

from costmodel.cli import main
from costmodel.step.events import CATEGORIES
from costmodel.studies.grid.columns import COLUMNS
from costmodel.views.records import AT_PEAK
from costmodel.views.schema import COUNT, GROUPS, NUMBER, SCHEMA, TEXT, YES_OR_NO

HERE = ("--target", "none")
#: Every command that prints a table.
CALLS = {
    "report": ("report", "mcunet_5fps", "--budget", "1GB", *HERE),
    "report, layers": ("report", "mcunet_5fps", "--strategy", "blocks:3,checkpoint=blocks", "--layers", *HERE),
    "report, a paper": ("report", "proxyless_mobile_tinytl", "--convention", "tinytl", "--strategy", "tinytl-lb"),
    "compare": ("compare", "mcunet_5fps", "--budget", "64MB", *HERE),
    "compare, ideal": ("compare", "mcunet_5fps", "--convention", "ideal"),
    "fit": ("fit", "mcunet_5fps", "--budget", "640MB", *HERE),
    "fit, most": ("fit", "mcunet_5fps", "--budget", "64MB", "--max", "batch", *HERE),
    "sweep": ("sweep", "mcunet_5fps", "--batch", "1..3", "--convention", "torch,ideal", *HERE),
    "pareto": ("pareto", "mcunet_5fps", "--strategy", "blocks:1..3,last", *HERE),
    "plan": ("plan", "mcunet_5fps", "--budget", "20MB", "--batch", "2", *HERE),
    "papers": ("validate", "--papers", "proxyless_mobile_tinytl"),
    "validate": ("validate", "mcunet_5fps", "--strategy", "last", "--resolution", "33"),
    "validate, summary": ("validate", "mcunet_5fps", "--strategy", "last", "--resolution", "33", "--summary"),
    **{f"list {what}": ("list", what) for what in ("networks", "strategies", "conventions", "optimizers", "targets")},
    "list devices": ("list", "devices"),
    "report, a device": ("report", "mcunet_5fps", "--device", "raspberry_pi_4b"),
    "sweep, a device": ("sweep", "mcunet_5fps", "--batch", "1..3", "--device", "raspberry_pi_4b"),
    "where": ("where", "mcunet_5fps", "--devices", "raspberry_pi_4b,jetson_nano,phone_ios", "--images", "100"),
    "explain": ("explain", "mcunet_5fps", "blocks.3", *HERE),
    "list blocks": ("list", "blocks", "mcunet_5fps"),
}
READERS = {TEXT: str, YES_OR_NO: lambda cell: {"0": False, "1": True}[cell], NUMBER: float}
READERS |= dict.fromkeys(("share", "seconds", "joules"), float)


def printed(call, form):
    result = CliRunner().invoke(main, [*CALLS[call], "--format", form])
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.mark.one_in(3)
@pytest.mark.parametrize("call", CALLS)
def test_a_csv_has_names_of_the_schema_and_plain_values(call):
    header, *rows = csv.reader(io.StringIO(printed(call, "csv")))
    assert {*header} <= SCHEMA.keys() and len({*header}) == len(header) and rows
    for row in rows:
        assert len(row) == len(header)
        for name, cell in zip(header, row):
            assert not cell or READERS.get(SCHEMA[name].unit, int)(cell) is not None  # bytes and FLOPs are integers
    tables = {row[0] for row in rows} if header[0] == "table" else set()
    assert len(tables) == (2 + ("device" in call) if call.startswith(("report", "plan", "explain")) else 0)


@pytest.mark.parametrize("call", [call for call in CALLS if call.startswith("list")])
def test_a_list_in_json_has_the_names_of_its_csv(call):
    entries = json.loads(printed(call, "json"))
    header = next(csv.reader(io.StringIO(printed(call, "csv"))))
    assert all([*entry] == header for entry in entries)
    flags = [value for entry in entries for name, value in entry.items() if SCHEMA[name].unit == YES_OR_NO]
    assert all(isinstance(flag, bool) for flag in flags) and "yes" not in flags


@pytest.mark.one_in(4)
@pytest.mark.parametrize("form", ["markdown", "latex"])
@pytest.mark.parametrize("call", [call for call in CALLS if not call.startswith("validate")])
def test_every_command_has_tables_for_papers(call, form):
    text = printed(call, form)
    if form == "latex":
        assert text.count(r"\toprule") == text.count(r"\bottomrule") >= 1
        lines = (line for line in text.splitlines() if line and not line.startswith(("%", "\\")))
        assert all(line.endswith(r"\\") for line in lines)  # prose is a comment
    else:
        assert re.search(r"^\|[-:|]+\|$", text, re.MULTILINE)


def test_a_name_ends_in_its_unit():
    for name, key in SCHEMA.items():
        for unit, end in (("bytes", "_bytes"), ("FLOPs", "_flops"), ("seconds", "_seconds"), ("joules", "_joules")):
            assert (key.unit == unit) == name.endswith(end) or name == "flops_error"
    assert sum(len(group) for group in GROUPS.values()) == len(SCHEMA)
    assert COLUMNS.keys() <= SCHEMA.keys() and {*AT_PEAK.values()} <= SCHEMA.keys() and AT_PEAK.keys() == {*CATEGORIES}


def test_the_document_lists_every_name():
    text = (Path(__file__).parents[2] / "docs/output.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(name, key.unit, key.meaning) for name, key in SCHEMA.items()]
    assert all(f"## {title}\n" in text for title in GROUPS)
    assert {key.unit for key in SCHEMA.values()} == {
        TEXT, NUMBER, YES_OR_NO, COUNT, "bytes", "FLOPs", "parameters", "blocks", "share", "seconds",
        "joules"}  # fmt: skip
