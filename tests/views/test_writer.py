"""The writer of tables: what people see, what programs see, and how a table fits into a line."""

import pytest

from costmodel.commands import _output
from costmodel.views.table import DRAWN, Column, Table, bar, csv_text, hidden, records, render, words, yes_or_no

TABLE = Table(
    "title",
    [words("part", "block"), Column("saved_bytes", "saved, kB", lambda n: f"{n / 1000:.1f}"), words(None, DRAWN),
     hidden("parameters"), yes_or_no("fits", "fits"), hidden("output_shape")],
    [["stem", 1500, bar(1, 2, 2), 7, True, [3, 8, 8]], ["a.very.long.name.of.a.block", None, "", 9, False, []]],
    "blocks",
)  # fmt: skip


def test_people_and_programs_see_their_own_columns():
    assert render([TABLE], ["a note"], "table").splitlines() == [
        "title", "",
        "block                          saved, kB      fits",
        "---------------------------  -----------  --  ------",
        "stem                                 1.5  █   yes",
        "a.very.long.name.of.a.block                   no", "",
        "a note",
    ]  # fmt: skip
    assert csv_text([TABLE]).splitlines() == [
        "part,saved_bytes,parameters,fits,output_shape",
        "stem,1500,7,1,3x8x8",
        "a.very.long.name.of.a.block,,9,0,",
    ]
    assert records(TABLE)[0] == {"part": "stem", "saved_bytes": 1500, "parameters": 7, "fits": True,
                                 "output_shape": [3, 8, 8]}  # fmt: skip


def test_several_tables_are_one_csv():
    other = Table("", [hidden("peak_bytes"), hidden("part")], [[5, "all"]], "steps")
    people = Table("", [words(None, "for people")], [["x"]])
    assert csv_text([other, people, TABLE]).splitlines()[:3] == [
        "table,peak_bytes,part,saved_bytes,parameters,fits,output_shape",
        "steps,5,all,,,,",
        "blocks,,stem,1500,7,1,3x8x8",
    ]
    assert "peak" not in render([other, people], [], "table")


@pytest.mark.parametrize("width", [34, 36, 40, 45, 50, 60])
def test_a_table_fits_into_a_line_and_its_numbers_stay_whole(width):
    lines = render(
        [TABLE], ["one two three four five six seven eight nine ten\n    costmodel report " + "x" * 80], "table", width
    )
    *table, note = lines.split("\n\n")
    assert all(len(line) <= width for line in table[1].splitlines())
    assert "1.5" in table[1] and "stem" in table[1]
    assert ("█" in table[1]) == (width >= 53) and ("…" in table[1]) == (width < 49)
    *prose, command = note.splitlines()
    assert all(len(line) <= width for line in prose) and command.endswith("x" * 80)


def test_rows_that_are_cut_are_counted():
    table = Table("", [Column("batch", "batch")], [[n] for n in range(9)], most=4, rest="-o FILE writes all", total=100)
    assert render([table], [], "table").splitlines()[-2:] == ["      3", "... 96 more; -o FILE writes all"]
    assert len(render([table], [], "csv").splitlines()) == 10


def test_latex_is_for_booktabs_and_escapes_names():
    table = Table("a_title", [words("part", "block")], [["x_1 & y"]])
    text = render([table], ["a note"], "latex")
    assert text.startswith("% a_title\n") and text.endswith("\n\n% a note")
    assert r"\toprule" in text and r"x\_1 \& y" in text


def test_a_terminal_has_lines_as_long_as_it_is_wide(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "36")
    _output.show([TABLE], [], "table")
    assert "a.very.long.name" in capsys.readouterr().out  # a pipe has no width
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    _output.show([TABLE], [], "table")
    assert max(map(len, capsys.readouterr().out.splitlines())) == 36
