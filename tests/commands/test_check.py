"""`costmodel check` in a repository: what it prints and writes, and with which exit code it ends."""

import csv
import io
import json
from xml.etree import ElementTree

import pytest
from commandline import CliRunner

import costmodel
from costmodel.cli import main
from specs import BLOCKS, changed

PROJECT = """\
[project]
name = "mine"

[tool.costmodel]
target = "none"
batch = 4

[[tool.costmodel.check]]
name = "phone"
network = "nets/tiny.yaml"
budget = "700kB"

[[tool.costmodel.check]]
network = "nets/tiny.yaml"
strategy = "bias"
convention = "lean"
budget = "1M"
"""


def run(*arguments):
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with a network and its budgets, in which we are; no workflow's environment."""
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "tiny.yaml").write_text(BLOCKS)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_WORKSPACE", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def widen(repository):
    (repository / "nets" / "tiny.yaml").write_text(changed(BLOCKS, "expand: 2", "expand: 4"))


def test_a_widened_block_fails_by_its_name_until_the_budget_is_raised(repository):
    before = run("-o", "base.json")
    assert before.exit_code == 0 and before.stdout.startswith("All 2 budgets hold.\n")
    widen(repository)
    after = run("--why", "--diff", "base.json")
    assert after.exit_code == 1 and after.stderr == ""
    old, new = (
        costmodel.estimate(path, batch=4, target="none").blocks[1] for path in (spec(repository), "nets/tiny.yaml")
    )
    assert old["name"] == new["name"] == "blocks.0" and old["saved"] < new["saved"]
    assert "1 of 2 budgets does not hold: phone." in after.stdout
    assert "phone: what changed since base.json." in after.stdout
    grown = next(line for line in after.stdout.split("what changed")[1].splitlines() if line.startswith("blocks.0"))
    assert [f"{old['parameters']:,}", f"{new['parameters']:,}"] == grown.split()[3:5]
    (repository / "pyproject.toml").write_text(PROJECT.replace("700kB", "1MiB"))
    assert run("--why", "--diff", "base.json").exit_code == 0


def spec(repository):
    """The path of the network before it was widened."""
    path = repository / "before.yaml"
    path.write_text(BLOCKS)
    return str(path)


def test_the_table_has_every_check_and_what_is_left(repository):
    lines = run().stdout.splitlines()
    assert lines[2].split("  ")[0] == "check" and lines[2].split()[-1] == "holds"
    assert [line.split()[-1] for line in lines[4:6]] == ["yes", "yes"]
    assert lines[5].startswith("nets/tiny.yaml bias convention=lean")
    assert "Peaks are those of: tensors alone, on no device" in run().stdout


def test_all_checks_are_priced_before_a_wrong_one_ends_with_2(repository):
    wrong = '[[tool.costmodel.check]]\nname = "wrong"\nnetwork = "no"\nbudget = 1\n'
    (repository / "pyproject.toml").write_text(PROJECT.replace("700kB", "1kB") + wrong)
    for form in ("table", "json", "csv", "markdown", "latex", "github", "junit"):
        result = run("--format", form)
        assert result.exit_code == 2 and "phone" in result.stdout and "wrong" in result.stdout
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("Error: pyproject.toml, line 20, check 3 (wrong).network: unknown network 'no'")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config", "no.toml"], "cannot read 'no.toml': No such file"),
        (["--config", "nets/tiny.yaml"], "nets/tiny.yaml: not valid TOML"),
        (["--diff", "no.json"], "cannot read 'no.json'"),
        (["--diff", "pyproject.toml"], "pyproject.toml: not valid JSON"),
        (
            ["--diff", "report.json"],
            "report.json: found no schema; allowed: what `costmodel check --format json` wrote",
        ),
        (["-o", "no/such/report.xml"], "output 'no/such/report.xml' cannot be written: No such file"),
        (["-o", "pyproject.toml"], "output 'pyproject.toml' is the file with the budgets"),
        (["--format", "xml"], "'xml'"),
        (["--budget", "1M"], "--budget"),
    ],
    ids=str,
)
def test_a_bad_request_is_one_message_and_leaves_no_file(repository, arguments, message):
    (repository / "report.json").write_text('{"network": "tiny"}')
    before = sorted(repository.rglob("*"))
    result = run(*arguments)
    assert result.exit_code == 2 and result.stdout == "" and message in result.stderr
    assert sorted(repository.rglob("*")) == before


def test_files_are_in_the_format_of_their_suffix_and_stdout_has_what_no_file_has(repository):
    widen(repository)
    result = run("-o", "a.json", "-o", "a.xml", "-o", "a.csv", "-o", "a.md", "-o", "a.tex")
    assert result.exit_code == 1 and result.stdout == run().stdout and result.stderr == ""
    assert json.loads((repository / "a.json").read_text()) == json.loads(run("--format", "json").stdout)
    assert (repository / "a.csv").read_text() == run("--format", "csv").stdout
    assert (repository / "a.md").read_text() == run("--format", "markdown").stdout
    assert (repository / "a.tex").read_text() == run("--format", "latex").stdout
    assert ElementTree.parse(repository / "a.xml").getroot().tag == "testsuites"
    quiet = run("--format", "json", "-o", "b.json")
    assert (quiet.stdout, quiet.stderr) == ("", "1 of 2 budgets does not hold: phone.\n")
    assert run("--format", "junit", "-o", "b.txt").stdout == ""
    assert (repository / "b.txt").read_text().startswith("<?xml")


def test_a_file_that_is_there_is_replaced_if_it_is_asked_for(repository):
    (repository / "README.md").write_text("ours")
    refused = run("-o", "new.json", "-o", "README.md")
    assert refused.exit_code == 2 and "output 'README.md' exists; allowed: another name, or --force" in refused.stderr
    assert (repository / "README.md").read_text() == "ours" and not (repository / "new.json").exists()
    assert run("-o", "README.md", "--force").exit_code == 0
    assert (repository / "README.md").read_text() == run("--format", "markdown").stdout


def test_json_and_csv_have_the_same_numbers(repository):
    document = json.loads(run("--format", "json").stdout)
    rows = [*csv.DictReader(io.StringIO(run("--format", "csv").stdout))]
    assert document["schema"] == "costmodel.check/1" and document["fits"] is True
    for check, row in zip(document["checks"], rows):
        assert check["name"] == row["check"] and row["fits"] == "1" and check["fits"] is True
        for key in ("budget_bytes", "peak_bytes", "headroom_bytes", "batch"):
            assert str(check[key]) == row[key]
        assert check["budget_bytes"] - check["peak_bytes"] == check["headroom_bytes"]
        assert sum(block["saved"] for block in check["blocks"]) == check["memory_bytes"]["saved"]


def test_csv_of_changes_has_every_block(repository):
    run("-o", "base.json")
    widen(repository)
    rows = csv.DictReader(io.StringIO(run("--diff", "base.json", "--format", "csv").stdout))
    grown = [row for row in rows if row["table"] == "changes" and row["check"] == "phone"]
    assert [row["part"] for row in grown] == ["blocks.0", "blocks.1"]
    assert all(int(row["before_saved_bytes"]) < int(row["saved_bytes"]) for row in grown)


def test_a_workflow_gets_annotations_at_the_check_and_a_summary(repository, monkeypatch):
    run("-o", "base.json")
    widen(repository)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(repository.parent))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(repository / "summary.md"))
    (repository / "summary.md").write_text("before\n")
    result = run("--format", "github", "--diff", "base.json")
    first, second = result.stdout.splitlines()
    place = f"file={repository.name}/pyproject.toml,line=8,title=costmodel%3A phone exceeds its budget"
    assert first.startswith(f"::error {place}::phone: the peak of ") and "%0Ablocks.0 grew since base.json: " in first
    assert second.startswith("nets/tiny.yaml bias convention=lean: the peak of ")
    summary = (repository / "summary.md").read_text()
    assert summary.startswith("before\n**1 of 2 budgets does not hold: phone.**\n\n| check")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(repository / "no" / "summary.md"))
    assert "GITHUB_STEP_SUMMARY" in run("--format", "github").stderr


def test_why_tells_the_blocks_that_keep_most_where_a_budget_does_not_hold(repository):
    assert run("--why").stdout == run().stdout  # all hold
    widen(repository)
    said = run("--why", "--format", "csv").stdout
    blocks = [row for row in csv.DictReader(io.StringIO(said)) if row["table"] == "blocks"]
    found = costmodel.estimate("nets/tiny.yaml", batch=4, target="none")
    kept = sorted((b["saved"] for b in found.blocks if b["saved"]), reverse=True)
    assert {row["check"] for row in blocks} == {"phone"} and [int(row["saved_bytes"]) for row in blocks] == kept
    assert sum(float(row["saved_share"]) for row in blocks) == pytest.approx(1)


def test_long_tables_of_blocks_are_cut_for_people_and_whole_for_programs(repository):
    check = '[[tool.costmodel.check]]\nnetwork = "mobilenet_v2"\nbudget = "64M"\nresolution = 32\nbatch = 99\n'
    (repository / "pyproject.toml").write_text(check)
    blocks = len(costmodel.load("mobilenet_v2").graph.parts) + 1  # and the loss
    for form, cut in (("table", "\n..."), ("markdown", "\n\n..."), ("latex", "\n\n% ...")):
        assert f"{cut} {blocks - 8} more; --format csv or json has all" in run("--why", "--format", form).stdout
    assert run("--why", "--format", "csv").stdout.count("\nblocks,") == blocks
