"""Files of figures: fonts that can be edited, sizes as asked, the same bytes every time, and nothing half-written."""

import json
import re
import struct
import zlib

import pytest
from commandline import CliRunner

import costmodel
import costmodel.studies.plan.within  # noqa: F401  (it takes `plan` when it is first imported, and not a stand-in)
from costmodel.cli import main
from costmodel.errors import CostmodelError
from costmodel.views.figures.file import drawn
from costmodel.views.figures.sheet import Sheet, sheet_size
from costmodel.views.figures.step import step_figure

REPORT = ("report", "mcunet_5fps", "--batch", "1", "--target", "none")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def figure():
    estimate = costmodel.estimate("mcunet_5fps", "mobiletl:3", batch=1, convention="lean", target="none")
    return step_figure(estimate, 4_000_000, Sheet(3.33))


def test_the_fonts_of_a_pdf_are_truetype(figure):
    pdf = drawn(figure, ".pdf")
    parts = [pdf] + [zlib.decompressobj().decompress(s) for s in re.findall(rb"stream\r?\n(x.*?)endstream", pdf, re.S)]
    fonts = {kind for part in parts for kind in re.findall(rb"/Subtype\s*/(Type0|TrueType|CIDFontType2|Type3)", part)}
    assert b"/FontFile2" in b"".join(parts)
    assert fonts and b"Type3" not in fonts


def test_the_text_of_an_svg_is_text(figure):
    svg = drawn(figure, ".svg").decode()
    texts = set(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    assert {"stem", "blocks.0", "blocks.13", "head", "classifier", "forward", "backward", "budget, 4 MB"} <= texts


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_equal_figures_are_equal_bytes(figure, suffix):
    once = drawn(figure, suffix)
    assert once == drawn(figure, suffix)
    assert not re.search(rb"CreationDate|<dc:date>|tIME", once)


@pytest.mark.parametrize(
    "text, size",
    [
        ("3.3x2.4in", (3.3, 2.4)),
        ("8.4x6cm", (8.4 / 2.54, 6 / 2.54)),
        ("84mm", (84 / 25.4, None)),
        ("252pt", (252 / 72.27, None)),
        ("3in x 50mm", (3.0, 50 / 25.4)),
        ("column", (3.33, None)),
        ("page", (7.0, None)),
    ],
)
def test_sizes(text, size):
    assert sheet_size(text) == pytest.approx(size)


@pytest.mark.parametrize(
    "text", ["", "3", "3x2", "3.3x2.4", "0.5in", "3x0.1in", "90in", "3x2px", "x2in", "columns", "-3in"]
)
def test_bad_sizes(text):
    with pytest.raises(CostmodelError, match="figure-size is .*; allowed: WIDTHxHEIGHT or a width, in in, cm, mm, pt"):
        sheet_size(text)


def test_a_figure_of_the_size_that_was_asked_for(tmp_path):
    path = tmp_path / "step.png"
    assert run(*REPORT, "--figure", path, "--figure-size", "3.2x4in", "--no-title").exit_code == 0
    assert struct.unpack(">II", path.read_bytes()[16:24]) == (480, 600)  # at 150 dots per inch


def test_no_title_on_request(figure):
    estimate = costmodel.estimate("mcunet_5fps", batch=1, target="none")
    assert figure._suptitle.get_text().startswith("mcunet_5fps")
    assert step_figure(estimate, sheet=Sheet(titled=False))._suptitle is None


SWEEP = ("sweep", "mcunet_5fps", "--batch", "1..4", "--target", "none")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((*REPORT, "--figure", "step.gif"), "found the type '.gif'"),
        ((*REPORT, "--figure", "no/such/step.png"), "cannot be written: No such file or directory"),
        ((*REPORT, "--figure", "there.png"), "'there.png' exists; allowed: another name, or --force"),
        ((*REPORT, "--figure", "x.png", "--figure-size", "wide"), "figure-size is 'wide'"),
        ((*REPORT, "--figure-size", "column"), "allowed: with --figure FILE"),
        ((*REPORT, "--no-title"), "allowed: with --figure FILE"),
        ((*SWEEP, "--budget", "3MB"), "allowed: with --figure FILE"),
        ((*SWEEP, "--figure", "no/such/x.svg", "-o", "grid.csv"), "cannot be written"),
        (("sweep", "mcunet_5fps", "--strategy", "full,bias", "--figure", "x.pdf"), "in which no number varies"),
        (("pareto", "mcunet_5fps", "--budget", "3MB"), "allowed: with --figure FILE"),
        (("pareto", "mcunet_5fps", "--figure", "no/such/x.png"), "cannot be written"),
        (("pareto", "mcunet_5fps", "--figure", "x.png", "--budget", "3MB", "--minimise", "saved_bytes", "--maximise",
          "trained_blocks"), "budget has no line"),
        (("plan", "mcunet_5fps", "--budget", "40MB", "--figure", "there.png"), "exists"),
        (("fit", "mcunet_5fps", "--budget", "40MB", "--figure", "x.jpeg"), "found the type '.jpeg'"),
        (("compare", "mcunet_5fps", "--figure", "no/such/x.pdf"), "cannot be written"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_figure_that_cannot_be_drawn_is_one_message_before_the_work(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").write_bytes(b"mine")

    def no_work(*_, **__):
        raise AssertionError("worked first")

    for name in ("costmodel.api.estimate", "costmodel.studies.grid.sweep.sweep", "costmodel.studies.plan.plan.plan",
                 "costmodel.studies.grid.sweep.SweepPlan.price"):  # fmt: skip
        monkeypatch.setattr(name, no_work)
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "") and message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]
    assert (tmp_path / "there.png").read_bytes() == b"mine"


def test_a_frontier_s_files_are_written_all_or_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json").mkdir()
    asked = ("pareto", "mcunet_5fps", "--strategy", "full,last", "--figure", "x.png")
    assert run(*asked).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    (tmp_path / "x.json").rmdir()
    assert run(*asked, "--budget", "30MB").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.json", "x.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "mcunet_5fps", "--strategy", "full", "--strategy", "bias", "--budget", "900MB"),
        ("fit", "mcunet_5fps", "--budget", "400MB", "--max", "batch"),
        ("fit", "mcunet_5fps", "--budget", "400MB"),
        SWEEP,
        ("plan", "mcunet_5fps", "--budget", "40MB", "--convention", "lean"),
    ],
    ids=" ".join,
)
def test_commands_draw_beside_what_they_print(tmp_path, arguments):
    path = tmp_path / "x.svg"
    result = run(*arguments, "--figure", path, "--figure-size", "page", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert "<text" in path.read_text() and 'width="504pt"' in path.read_text()
    assert json.loads(result.stdout)


def test_a_grid_is_written_and_drawn(tmp_path):
    grid, path = tmp_path / "grid.csv", tmp_path / "grid.png"
    result = run(*SWEEP, "-o", grid, "--figure", path)
    assert result.exit_code == 0 and path.read_bytes().startswith(b"\x89PNG")
    assert len(grid.read_text().splitlines()) == 5
