"""Budgets in pyproject.toml: what is read, what is priced, and what changed since."""

import json
import sys

import pytest
from commandline import CliRunner
from hypothesis import HealthCheck, given
from hypothesis import settings as drawn
from hypothesis import strategies as st

import costmodel
from costmodel import CostmodelError
from costmodel.cli import main
from costmodel.files.toml import lines_of, read_toml
from costmodel.studies.gate.differences import QUANTITIES, changes_since
from costmodel.studies.gate.document import SCHEMA, document, read_document
from costmodel.studies.gate.results import results_of
from costmodel.studies.gate.settings import KEYS, Settings, read_settings
from specs import BLOCKS, changed

ONE = '[[tool.costmodel.check]]\nnetwork = "tiny.yaml"\nbudget = "4MiB"\n'
SHARED = '[tool.costmodel]\ntarget = "none"\nbatch = 2\n\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a network, in which we are."""
    (tmp_path / "tiny.yaml").write_text(BLOCKS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(text):
    with open("pyproject.toml", "w", encoding="utf-8") as file:
        file.write(text)
    return read_settings(None)


def results(text):
    return results_of(settings(text))


# -- what is read ------------------------------------------------------------------------------------------


def test_a_check_has_its_own_keys_and_what_all_share(folder):
    said = settings(SHARED + ONE + 'name = "one"\nbatch = 3\n' + ONE + 'strategy = "bias"\n')
    one, two = said.checks
    assert (one.name, one.budget, one.said, one.wrong) == ("one", 4 * 2**20, "4MiB", "")
    assert one.asked == {"network": "tiny.yaml", "target": "none", "batch": 3}
    assert two.name == "tiny.yaml bias" and two.asked["batch"] == 2
    assert (said.path, said.folder, one.place.line, two.place.line) == ("pyproject.toml", folder, 5, 10)


def test_a_budget_is_a_text_or_bytes_and_may_be_shared(folder):
    shared = '[tool.costmodel]\nnetwork = "tiny.yaml"\nbudget = 64_000_000\n'
    said = settings(shared + '[[tool.costmodel.check]]\n[[tool.costmodel.check]]\nbatch = 1\nbudget = ".5G"')
    assert [check.budget for check in said.checks] == [64_000_000, 500_000_000]
    assert [check.name for check in said.checks] == ["tiny.yaml full", "tiny.yaml full batch=1"]


def test_the_nearest_file_with_the_table_counts(folder, monkeypatch):
    settings(ONE)
    deep = folder / "a" / "b"
    deep.mkdir(parents=True)
    (folder / "a" / "pyproject.toml").write_text('[tool.other]\nkey = "value"\n')
    monkeypatch.chdir(deep)
    found = read_settings(None)
    assert (found.path, found.folder) == ("../../pyproject.toml", folder)
    (deep / "own.toml").write_text(ONE + ONE.replace("4MiB", "5MiB") + 'name = "b"')
    assert [check.budget for check in read_settings("own.toml").checks] == [4 * 2**20, 5 * 2**20]


def test_tables_are_found_however_they_are_written(folder):
    inline = settings('[tool.costmodel]\ncheck = [{network = "tiny.yaml", budget = 1}, {budget = 2}]')
    assert [check.place.line for check in inline.checks] == [2, 2]
    assert inline.checks[1].wrong.startswith("pyproject.toml, line 2, check 2: 'network' is missing")
    text = '[ tool . costmodel . check ] # one\n"a" = 1\nb.c = 2\n[tool.costmodel.check2]\n'
    assert lines_of(text, "tool.costmodel.check", 1) == [{"": 1}]
    assert lines_of("x = 1\n", "tool.costmodel.check", 1) == [{"": 1}]


WRONG_FILES = [
    ("", "no [tool.costmodel] in pyproject.toml; add [[tool.costmodel.check]] with network = "),
    ("tool = 3", "no [tool.costmodel] in pyproject.toml"),
    ("[tool.costmodel]\n", "pyproject.toml, line 1, tool.costmodel: there is nothing to check; add"),
    ("[tool]\ncostmodel = 7", "pyproject.toml: tool.costmodel is 7; allowed: a table"),
    ("[tool.costmodel]\ncheck = 7", "line 1, tool.costmodel: there is nothing to check"),
    ("[tool.costmodel]\ncheck = []", "line 1, tool.costmodel: there is nothing to check"),
    ('[tool.costmodel.check]\nnetwork = "n"', "check is one table; write [[tool.costmodel.check]], with two brackets"),
    ("[tool.costmodel]\nbacth = 3\n" + ONE, "line 1, tool.costmodel: unknown key 'bacth'; did you mean 'batch'?"),
    ('[tool.costmodel]\n\nbatch = "3"\n' + ONE, "line 3, tool.costmodel.batch: found '3'; allowed: an integer"),
    ('[tool.costmodel]\nname = "x"\n' + ONE, "line 2, tool.costmodel.name: checks cannot share a name"),
    ('[tool.costmodel]\nbudget = "x"\n' + ONE, "line 2, tool.costmodel.budget: budget is 'x'; allowed: bytes"),
    ("[tool.costmodel\n", "pyproject.toml: not valid TOML: "),
    ("a = 1\na = 2\n", "pyproject.toml: not valid TOML: "),
    ("a = " + "[" * 5000 + "]" * 5000, "pyproject.toml: n"),  # too deep, or not valid
    ("a = " + "9" * 5000, "pyproject.toml: not valid TOML: "),
]


@pytest.mark.parametrize("text, message", WRONG_FILES, ids=range(len(WRONG_FILES)))
def test_a_file_without_checks_is_one_message(folder, text, message):
    with pytest.raises(CostmodelError) as error:
        settings(text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_message(folder):
    with pytest.raises(CostmodelError, match="cannot read 'no.toml': No such file"):
        read_settings("no.toml")
    (folder / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(CostmodelError, match="cannot read 'bytes.toml': it is not UTF-8 text"):
        read_toml("bytes.toml")
    with pytest.raises(CostmodelError, match=r"no \[tool.costmodel\] "):
        read_settings(None)


WRONG_CHECKS = [
    ('network = "tiny.yaml"', "pyproject.toml, line 4, check 2: 'budget' is missing"),
    ('budget = "1M"', "line 4, check 2: 'network' is missing"),
    ('network = "tiny.yaml"\nbugdet = 3', "line 4, check 2: unknown key 'bugdet'; did you mean 'budget'?"),
    ('network = "tiny.yaml"\nbudget = "1M"\ndevice = "x"', "line 4, check 2: unknown key 'device'"),
    ('name = "b"\nnetwork = "tiny.yaml"\nbudget = "64 parsecs"', "line 7, check 2 (b).budget: budget is '64 parsecs'"),
    ('network = "tiny.yaml"\nbudget = 0', "line 6, check 2.budget: budget is '0'; allowed: at least 1 B"),
    ('network = "tiny.yaml"\nbudget = 1.5', "line 6, check 2.budget: found 1.5; allowed: a text or an integer"),
    ('network = "tiny.yaml"\nbudget = true', "line 6, check 2.budget: found True"),
    ('network = ["a"]\nbudget = 1', "line 5, check 2.network: found ['a']; allowed: a text"),
    ('network = "tiny.yaml"\nbudget = 1\nbatch = 0', "line 7, check 2.batch: found 0; allowed: an integer >= 1"),
    ('network = "tiny.yaml"\nbudget = 1\nwidth = -1', "line 7, check 2.width: found -1; allowed: a number > 0"),
    ('network = "tiny.yaml"\nbudget = 1\nname = "a|b"', "line 7, check 2.name: found 'a|b'; allowed: 1 to 100 char"),
    ('network = "tiny.yaml"\nbudget = 1\nname = "::error"', "check 2.name: found '::error'"),
    ('network = "tiny.yaml"\nbudget = 1\nname = ""', "check 2.name: found ''"),
    ('network = "tiny.yaml"\nbudget = "9M"', "line 4, check 2: there is a check 'tiny.yaml full' already"),
    ('network = "no.yaml"\nbudget = "1M"', "line 5, check 2.network: cannot read 'no.yaml': No such file"),
    ('network = "mobilnet_v2"\nbudget = "1M"', "line 5, check 2.network: unknown network 'mobilnet_v2'; did you mean"),
    ('network = "tiny.yaml"\nbudget = 9\nstrategy = "blks:1"', "line 4, check 2: tiny: unknown strategy 'blks'"),
    ('network = "tiny.yaml"\nbudget = 9\nconvention = "ideal"', "check 2: convention 'ideal' counts what is saved; it"),
    ('network = "tiny.yaml"\nbudget = 9\ntarget = "gpu"', "line 7, check 2.target: target 'gpu': unknown device"),
    ('network = "tiny.yaml"\nbudget = 9\noptimizer = "lion"', "line 7, check 2.optimizer: unknown optimizer 'lion'"),
    ('network = "tiny.yaml"\nbudget = 9\ndtype = "int8"', "line 7, check 2.dtype: unknown dtype 'int8'"),
    ('network = "tiny.yaml"\nbudget = 9\namp = "int8"', "line 7, check 2.amp: unknown amp 'int8'"),
    ('network = "tiny.yaml"\nbudget = 9\nconvention = "x"', "line 7, check 2.convention: unknown convention 'x'"),
    ('network = "tiny.yaml"\nbudget = 9\nresolution = 100000000', "line 4, check 2: "),
    ('network = "gate_fails:build"\nbudget = 9', "check 2.network: gate_fails fails: gate_fails.py, line 1: KeyError"),
    ('network = "gate_leaves:build"\nbudget = 9', "fails: gate_leaves.py, line 1: it exits (SystemExit: 3)"),
    ('network = "gate_no_such_module:build"\nbudget = 9', "check 2.network: cannot import 'gate_no_such_module'"),
]  # fmt: skip


@pytest.mark.parametrize("text, message", WRONG_CHECKS, ids=range(len(WRONG_CHECKS)))
def test_a_wrong_check_is_one_message_and_the_others_are_priced(folder, text, message):
    (folder / "gate_fails.py").write_text('raise KeyError("weights")')
    (folder / "gate_leaves.py").write_text("import sys; sys.exit(3)")
    one, two = results(f"{ONE}[[tool.costmodel.check]]\n{text}\n")
    assert one.fits and not one.error
    assert two.estimate is None and not two.fits
    assert message in two.error and two.error.startswith("pyproject.toml, line ") and "\n" not in two.error


VALUES = st.one_of(
    st.integers(-3, 2**70), st.booleans(), st.floats(allow_nan=False), st.text(max_size=5), st.just("4M"), st.just([1])
)


ANY_PACE = drawn(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@ANY_PACE
@given(tables=st.lists(st.dictionaries(st.sampled_from([*KEYS, "check", "x"]), VALUES, max_size=4), max_size=3))
def test_any_values_are_settings_or_messages_with_a_place(tmp_path_factory, tables):
    path = tmp_path_factory.mktemp("any") / "any.toml"
    lines = [f"{key} = {json.dumps(value)}" for table in tables for key, value in [("[[", 0), *table.items()]]
    path.write_text("\n".join("[[tool.costmodel.check]]" if line == "[[ = 0" else line for line in lines))
    try:
        found = read_settings(str(path))
    except CostmodelError as error:
        assert str(error).startswith(str(path))
    else:
        assert len(found.checks) == len(tables) and len({check.name for check in found.checks}) == len(tables)
        assert all(check.wrong.startswith(f"{path}, line ") for check in found.checks if check.wrong)


@ANY_PACE
@given(
    at=st.integers(0, 200),
    insert=st.sampled_from(["", "[", "]", '"', "=", "\n", "\x00", "é", "'", "check", "{"]),
    cut=st.integers(0, 9),
)
def test_any_edit_of_a_file_is_read_or_one_message(tmp_path_factory, at, insert, cut):
    text = SHARED + ONE + 'name = "one"\n' + ONE
    path = tmp_path_factory.mktemp("any") / "any.toml"
    path.write_text(text[:at] + insert + text[at + cut :], encoding="utf-8")
    try:
        wrong = [check.wrong for check in read_settings(str(path)).checks]
    except CostmodelError as error:
        wrong = [str(error)]
    assert all(not message or message.startswith(str(path)) and "Traceback" not in message for message in wrong)


# -- what is priced ----------------------------------------------------------------------------------------


def test_a_result_is_the_estimate_of_its_keys(folder):
    mine = 'network = "tiny.yaml"\nstrategy = "blocks:1"\nconvention = "lean"\nclasses = 7\nwidth = 2\naccumulate = 2\n'
    (result,) = results(SHARED + "[[tool.costmodel.check]]\nbudget = 600000\noptimizer = 'adam'\n" + mine)
    same = costmodel.estimate(
        costmodel.load("tiny.yaml", classes=7, width=2), "blocks:1", 2, None, "lean", "adam", "none", accumulate=2
    )
    assert result.estimate.to_dict() == same.to_dict()
    assert result.headroom == 600_000 - same.peak_bytes and result.fits == (result.headroom >= 0)


def test_a_budget_of_the_peak_holds_and_one_byte_less_does_not(folder):
    peak = costmodel.estimate("tiny.yaml", batch=2, target="none").peak_bytes
    text = SHARED + ONE.replace('"4MiB"', str(peak)) + ONE.replace('"4MiB"', str(peak - 1)) + 'name = "less"'
    assert [(result.headroom, result.fits) for result in results(text)] == [(0, True), (-1, False)]


def test_networks_are_found_from_the_folder_of_the_file(folder, monkeypatch, capsys):
    (folder / "gate_models.py").write_text(
        "import torch\nprint('imported')\ndef build(): return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3),"
        " torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 2))"
    )
    module = ONE.replace("tiny.yaml", "gate_models:build")
    costmodel.plan("tiny.yaml", 10**9, target="none").save("plan.yaml")
    settings(
        SHARED + ONE + module + module + 'name = "again"\nstrategy = "bias"' + "\n" + ONE + 'strategy = "plan.yaml"'
    )
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    found = results_of(read_settings(None))
    assert [result.error for result in found] == [""] * 4
    assert found[3].estimate.strategy == "plan.yaml" and found[3].estimate.trained_blocks == 2
    assert sys.path.count(str(folder)) == 0
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("imported") == 1  # stdout is for the results


# -- what changed ------------------------------------------------------------------------------------------


@pytest.fixture
def base(folder):
    """The settings of a tiny network, and the path of the document of its results."""
    said = settings(SHARED + ONE)
    (folder / "base.json").write_text(json.dumps(document(said.path, results_of(said), changes_since("", {}, []))))
    return said


def test_a_document_is_read_back_without_a_change(base):
    found = results_of(base)
    since = changes_since("base.json", read_document("base.json"), found)
    assert since.of(found[0]) == (found[0].estimate.peak_bytes, [], []) and since.gone == []


def test_a_block_that_grew_is_named_with_old_and_new(base, folder):
    old = results_of(base)[0].estimate
    (folder / "tiny.yaml").write_text(changed(BLOCKS, "expand: 2", "expand: 3"))
    (found,) = results_of(base)
    difference = changes_since("base.json", read_document("base.json"), [found]).of(found)
    then, now = ({one["name"]: one for one in estimate.blocks} for estimate in (old, found.estimate))
    assert difference.peak_bytes == old.peak_bytes and difference.request == []
    assert {change.block for change in difference.changes} == {"blocks.0", "blocks.1"}
    for change in difference.changes:
        before, after = (sum(side[change.block][key] for key in QUANTITIES[change.quantity]) for side in (then, now))
        assert (change.before, change.after) == (before, after) and change.growth == after - before > 0


def test_blocks_that_come_and_go_and_requests_that_change(base, folder):
    (folder / "tiny.yaml").write_text(changed(BLOCKS, "repeat: 2", "repeat: 1"))
    more = settings(SHARED + ONE + 'name = "tiny.yaml full"\nstrategy = "bias"\n' + ONE + 'name = "new"')
    found = results_of(more)
    since = changes_since("base.json", {**read_document("base.json"), "old": ()}, found)
    difference = since.of(found[0])
    assert difference.request == [("strategy", "full", "bias")]
    assert {c.block for c in difference.changes if c.after is None} == {"blocks.1"}
    assert since.of(found[1]) is None and since.gone == ["old"]


def edited(edit):
    """A document, after an edit of its only check."""

    def text(path):
        with open(path) as file:
            whole = json.load(file)
        edit(whole["checks"][0])
        return json.dumps(whole)

    return text


def set_first_block(key, value):
    return edited(lambda check: check["blocks"][0].update({key: value}))


BAD_DOCUMENTS = [
    (lambda path: "{", "base.json: not valid JSON: "),
    (lambda path: "[" * 100_000, "base.json: not valid JSON: "),
    (lambda path: "[]", "base.json: found no schema; allowed: what `costmodel check --format json` wrote"),
    (lambda path: "{}", "base.json: found no schema"),
    (lambda path: '{"schema": "costmodel.check/2"}', f"found schema 'costmodel.check/2'; allowed: what `costmodel check"
     f" --format json` wrote, schema '{SCHEMA}'"),
    (lambda path: json.dumps({"schema": SCHEMA}), "base.json, checks: found nothing; allowed: a list of mappings"),
    (lambda path: json.dumps({"schema": SCHEMA, "checks": [1]}), "base.json, checks: found [1]; allowed: a list of"),
    (edited(lambda check: check.pop("name")), "base.json, checks[0].name: found nothing; allowed: a text"),
    (edited(lambda check: check.update(peak_bytes="1")), "base.json, checks[0].peak_bytes: found '1'; allowed: an int"),
    (edited(lambda check: check.update(blocks={})), "base.json, checks[0].blocks: found {}; allowed: a list of"),
    (set_first_block("saved", 1.5), "base.json, checks[0].blocks[0].saved: found 1.5; allowed: an integer from 0"),
    (set_first_block("saved", True), "base.json, checks[0].blocks[0].saved: found True"),
    (set_first_block("parameters", -1), "base.json, checks[0].blocks[0].parameters: found -1"),
    (set_first_block("backward_flops", 2**63), "base.json, checks[0].blocks[0].backward_flops: found 92233720368547"),
    (set_first_block("name", None), "base.json, checks[0].blocks[0].name: found None; allowed: a text"),
]  # fmt: skip


@pytest.mark.parametrize("text, message", BAD_DOCUMENTS, ids=range(len(BAD_DOCUMENTS)))
def test_a_document_of_another_kind_is_one_message_with_its_place(base, folder, text, message):
    (folder / "base.json").write_text(text("base.json"))
    with pytest.raises(CostmodelError) as error:
        read_document("base.json")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_check_that_had_an_error_has_no_before(folder):
    said = settings(ONE.replace("tiny", "no"))
    (folder / "base.json").write_text(json.dumps(document(said.path, results_of(said), changes_since("", {}, []))))
    assert read_document("base.json") == {} and isinstance(said, Settings)


def test_keys_of_many_parts_are_refused_before_they_are_read(tmp_path):
    (tmp_path / "a.toml").write_text("x = 1\n" + ".".join("a" * 40_000) + " = 1\n")
    told = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "a.toml")])
    assert told.exit_code == 2 and "a.toml, line 2: a key of more than 100 parts" in told.stderr
