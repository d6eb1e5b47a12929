"""Text from outside: unseen characters, markup and formulas are shown, and do nothing."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from commandline import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import costmodel
from costmodel.cli import main
from costmodel.errors import CostmodelError
from costmodel.escapes import as_cell, from_cell, in_markdown, visible
from costmodel.files import parquet
from costmodel.files.table import read_table
from costmodel.studies.grid.sweep import write_rows
from costmodel.views.html import html_of
from costmodel.views.shell import quoted
from costmodel.views.table import Column, Table, render, words
from specs import NODES, changed


@pytest.mark.parametrize("text, shown", [
    ("features.3.conv", "features.3.conv"),
    ("Größe, 大きさ\u00a0», ½", "Größe, 大きさ\u00a0», ½"),
    ("\x1b[31mred", r"\x1b[31mred"),
    ("a\tb\nc\r", r"a\tb\nc\r"),
    ("\u202egnp.exe", r"\u202egnp.exe"),  # turns what follows around
    ("\x85\u2028\udc80", r"\x85\u2028\udc80"),  # line ends; a byte of a file name that is no UTF-8
])  # fmt: skip
def test_what_is_not_seen_is_written_as_in_python(text, shown):
    assert visible(text) == shown


def test_line_ends_may_stay():
    assert visible("a\nb\x1b", lines=True) == "a\nb\\x1b"


@given(st.text(st.characters(exclude_categories=[])))
def test_no_text_moves_the_cursor(text):
    shown = visible(text)
    assert len(shown.splitlines()) <= 1 and not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert visible(shown) == shown


@given(st.text("'=+-@ab1\t,\"\n"))
def test_a_cell_begins_with_no_formula_and_reads_back(text):
    cell = as_cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t"))
    assert from_cell(cell) == visible(text)


def test_markup_is_shown_as_it_is_written():
    assert in_markdown("features.3.conv_norm, blocks:5") == "features.3.conv_norm, blocks:5"
    assert in_markdown("<img src=x>|`a`*b* [c](d) _e_ f_g __h__ ~~i~~ $j$ \\") == (
        r"\<img src=x\>\|\`a\`\*b\* \[c\](d) \_e\_ f_g \_\_h\_\_ \~\~i\~\~ \$j\$ " + "\\\\"
    )
    assert in_markdown("a & b &amp; &#60;") == "a & b &amp;amp; &amp;#60;"


NASTY = "\x1b[2Ja|<script>\u202e&$x_1^$"
SHOWN = r"\x1b[2Ja|<script>\u202e&$x_1^$"


def test_tables_in_every_format():
    table = Table(f"of {NASTY}", [words("name", "name"), Column("n", NASTY)], [[NASTY, 1], [f"={NASTY}", 2]])
    notes = [f"A note on {NASTY}.\nAnd more."]
    plain = render([table], notes, "table")
    assert plain.count(SHOWN) == 5 and "\x1b" not in plain and "\u202e" not in plain
    for form in ("markdown", "latex"):
        text = render([table], notes, form)
        assert "\x1b" not in text and "\u202e" not in text
    rows = render([table], notes, "markdown").split("\n")
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows if row.startswith("|"))
    assert not any(re.search(r"(?<!\\)<", row) for row in rows)
    assert list(csv.reader(io.StringIO(render([table], notes, "csv")))) == [
        ["name", "n"],
        [SHOWN, "1"],
        [f"'={SHOWN}", "2"],
    ]


def test_a_grid_that_is_read_again(tmp_path):
    """A table's texts are what they were, whether from CSV or from Parquet."""
    names = ["=1+1", "'=a", "'b", "last", "-1x", "@c"]
    columns = {"name": np.array(names, dtype=object), "n": np.arange(6)}
    with open(tmp_path / "a.csv", "w", newline="") as file:
        write_rows(file, columns, header=True)
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "'=1+1,0"
    assert read_table(str(tmp_path / "a.csv")) == {"name": names, "n": list(range(6))}
    pytest.importorskip("pyarrow")
    parquet.convert(tmp_path / "a.csv", tmp_path / "a.parquet", {"name": str})
    assert read_table(str(tmp_path / "a.parquet")) == {"name": names, "n": list(range(6))}


# -- a network whose names are nasty -----------------------------------------------------------------------

NAME = "\x1b]0;t\x07<b>|$x_1^$"


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """The path of a spec in which the network and a layer have such a name."""
    text = changed(NODES, "network: tiny", f"network: {json.dumps(NAME)}")
    text = changed(text, "name: pool", f"name: {json.dumps(NAME)}")
    path = tmp_path_factory.mktemp("nasty") / "net.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown", "latex"])
@pytest.mark.parametrize("command", [
    ("report", "--layers"), ("report", "--budget", "1kB"), ("compare", "--strategy", "full,last"),
    ("fit", "--budget", "1MB"), ("sweep", "--batch", "1..3"), ("explain", NAME), ("plan", "--budget", "1MB"),
], ids=" ".join)  # fmt: skip
def test_no_command_prints_what_is_not_seen(nasty, command, form):
    told = run(command[0], nasty, *command[1:], "--format", form)
    assert told.exit_code in (0, 1), told.output
    assert told.stdout and not UNSEEN.search(told.stdout) and not UNSEEN.search(told.stderr)
    assert form != "table" or r"\x1b]0;t\x07" in told.stdout


@pytest.mark.parametrize("command", [
    ("report",), ("compare", "--strategy", "full,last"), ("fit", "--budget", "1MB"), ("plan", "--budget", "1MB"),
    ("sweep", "--batch", "1..3"), ("pareto", "--strategy", "full,last"),
], ids=" ".join)  # fmt: skip
def test_figures_are_xml_with_the_names_as_text(nasty, command, tmp_path, recwarn):
    told = run(command[0], nasty, *command[1:], "--figure", tmp_path / "a.svg")
    assert told.exit_code == 0, told.output
    drawn = ElementTree.parse(tmp_path / "a.svg")
    texts = "\n".join("".join(one.itertext()) for one in drawn.iter("{http://www.w3.org/2000/svg}text"))
    assert r"\x1b]0;t\x07<b>|$x_1^$" in texts
    assert not [warned for warned in recwarn if "Glyph" in str(warned.message)]


def test_html_and_what_python_shows(nasty):
    found = costmodel.estimate(str(nasty))
    for text in (html_of(found), repr(found), str(found.graph), str(costmodel.load(str(nasty)))):
        assert not UNSEEN.search(text)
    assert "<b>" not in html_of(found)
    with pytest.raises(CostmodelError) as error:
        costmodel.load("no\x1bsuch")
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("arguments", [
    ("report", "a\x1bb"), ("report", "mcunet_5fps", "c\x1bd"), ("e\x1bf",), ("report", "--g\x1bh"),
    ("report", "mcunet_5fps", "--batch", "i\x1bj"),
])  # fmt: skip
def test_errors_show_what_is_not_seen(arguments):
    told = run(*arguments)
    assert told.exit_code == 2 and "\x1b" not in told.stderr and r"\x1b" in told.stderr


@pytest.mark.parametrize("name, message", [
    (r'"a\nb"', "at most 100 names joined by single dots, without line ends"),
    ("a" * 1001, "a node's name has 1,001 characters; allowed: at most 1000"),
    (".".join("a" * 101), "at most 100 names joined by single dots"),
])  # fmt: skip
def test_names_that_no_node_may_have(name, message, tmp_path):
    (tmp_path / "net.yaml").write_text(changed(NODES, "name: pool", f"name: {name}"))
    told = run("report", tmp_path / "net.yaml")
    assert told.exit_code == 2 and message in told.stderr


LINES = "x\n::error::boo\n# h"


def test_no_name_makes_lines_of_its_own(tmp_path, monkeypatch):
    """A line that begins with :: is a command in a workflow's log, one with # a headline in Markdown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.yaml").write_text(changed(NODES, "network: tiny", f"network: {json.dumps(LINES)}"))
    (tmp_path / "tiny.yaml").write_text(NODES)
    for arguments in (
        ("report", "net.yaml"),
        ("report", "tiny.yaml", "--strategy", f"{LINES}.yaml"),
        ("report", f"{LINES}.yaml"),
        ("report", "tiny.yaml", "--loss", f"{LINES}.py:loss"),
        ("report", "tiny.yaml", LINES),
        ("pareto", f"{LINES}.csv"),
    ):
        told = run(*arguments)
        assert told.exit_code == 2 and "\n::error" not in told.output and "\n#" not in told.output, arguments


@pytest.mark.parametrize("word, shown", [
    ("a b", "'a b'"), ("a\x1b'b\\", r"$'a\x1b\'b\\'"), ("a\udcff.yaml", r"$'a\xff.yaml'"),
    ("\u202eé", r"$'\xe2\x80\xae\xc3\xa9'"),
])  # fmt: skip
def test_words_for_a_shell(word, shown):
    assert quoted(word) == shown
