"""Checks of budgets in sentences, in workflow commands and in XML."""

from xml.etree import ElementTree

import pytest

import costmodel
from costmodel.files.document import Block
from costmodel.studies.gate.differences import Change, Difference, Since
from costmodel.studies.gate.results import Result
from costmodel.studies.gate.settings import Check
from costmodel.views import check, check_words, ci
from costmodel.views.schema import SCHEMA


def result(name="one", budget=10**8, said="100MB", error="", **asked):
    place = Block("pyproject.toml", "check 1", 3)
    found = None if error else costmodel.estimate("mobilenet_v2", batch=2, resolution=65, target="none", **asked)
    return Result(Check(name, place, budget, said, {"network": "mobilenet_v2"}), found, error, 0.25)


@pytest.fixture(scope="module")
def holds():
    return result()


@pytest.fixture(scope="module")
def exceeds():
    return result("two, too: 50%", 2**24, "16MiB", strategy="last")


def test_a_verdict_has_the_budget_as_it_was_written(holds, exceeds):
    assert check_words.verdict(holds) == "one: the peak of 40.68 MB leaves 59.32 MB of 100MB."
    assert check_words.verdict(exceeds) == "two, too: 50%: the peak of 19.40 MB exceeds 16MiB (16.78 MB) by 2.62 MB."


def test_a_summary_counts(holds, exceeds):
    wrong = result("three", error="what is wrong")
    assert check_words.summary([holds]) == "The budget holds."
    assert check_words.summary([holds, holds]) == "All 2 budgets hold."
    assert check_words.summary([exceeds]) == "The budget does not hold: two, too: 50%."
    assert check_words.summary([wrong]) == "The check cannot be priced: three."
    assert check_words.summary([holds, wrong]) == "1 of 2 checks cannot be priced: three."
    both = "2 of 3 budgets do not hold: two, too: 50%, two, too: 50%. 1 of 3 checks cannot be priced: three."
    assert check_words.summary([exceeds, exceeds, wrong]) == both


def test_what_keeps_most_is_named_with_its_share(exceeds):
    said = check_words.keepers_sentence(exceeds.estimate)
    assert (
        said == "classifier (10.24 kB), loss (8.02 kB) keep most of the 18.26 kB that are saved for the backward pass."
    )
    where = "The peak of 19.40 MB (torch) is reached in the backward pass at classifier.1."
    what = "It is made of 14.02 MB parameters, 5.12 MB gradients of parameters."
    assert check_words.peak_sentences(exceeds.estimate) == [where, what]
    assert check_words.sentences(exceeds, Since()) == [check_words.verdict(exceeds), where, what, said]
    paper = costmodel.estimate("mobilenet_v2", "last", 2, 65, convention="tinytl")
    assert check_words.peak_sentences(paper) == [
        f"The peak of {paper.peak_bytes / 10**6:.2f} MB is tinytl's own arithmetic, not of a run."
    ]
    nothing = costmodel.estimate("mobilenet_v2", "inference", 2, 65, target="none")
    assert check_words.keepers_sentence(nothing) == "Nothing is saved for a backward pass."
    table = check.keepers_table(exceeds._replace(estimate=nothing), nothing, whole=False)
    assert table.rows == [] and "Nothing is saved" in table.title


def test_what_grew_is_named_and_what_shrank_is_not():
    changes = [
        Change("a", "parameters", 1000, 2000), Change("a", "step_flops", 5, 4), Change("b", "saved_bytes", None, 10**6),
        Change("c", "saved_bytes", 10**6, None),
    ]  # fmt: skip
    said = check_words.growth_sentences(Difference(1, [], changes), "old.json")
    assert said == ["b grew since old.json: saved 0 B -> 1.00 MB.", "a grew since old.json: parameters 1,000 -> 2,000."]
    assert check_words.growth_sentences(None, "old.json") == []


def test_what_became_of_the_request_is_said(holds):
    request = [
        ("input_shape", [3, 32, 32], [3, 65, 65]),
        ("target", {"device": "cpu", "threads": 1}, {"device": "none"}),
    ]
    said = check_words.moved(holds, Difference(10**6, request, []))
    assert said.startswith("The peak was 1.00 MB and is ")
    assert said.endswith(
        " Its input_shape was 3x32x32 and is 3x65x65. Its target was device=cpu,threads=1 and is device=none."
    )
    same = Since("old.json", {"one": Difference(holds.estimate.peak_bytes, [], [])}, ["gone"])
    assert check_words.unlike([holds], same) == [
        "one: no block changed since old.json. The peak is the same.\nOnly in old.json: gone."
    ]
    assert check_words.unlike([holds], Since("old.json")) == ["Not in old.json: one."]
    assert check_words.unlike([holds], Since()) == []


def test_workflow_commands_are_escaped(exceeds):
    bad = result("bad", error="line\nbreak, 100 %:\r")
    first, second = ci.workflow_commands([exceeds, bad], Since(), "a,b:c.toml").split("\n")
    title = "costmodel%3A two%2C too%3A 50%25 exceeds its budget"
    assert first.startswith(f"::error file=a%2Cb%3Ac.toml,line=3,title={title}::two, too: 50%25: the peak of ")
    assert second.endswith("title=costmodel%3A bad cannot be priced::line%0Abreak, 100 %25:%0D")


def test_junit_counts_failures_and_errors_apart(holds, exceeds):
    bad = result("bad <&>", error="no \x00 such ]]> \x1b network \ud800")
    text = ci.junit([holds, exceeds, bad], Since(), "pyproject.toml")
    root = ElementTree.fromstring(text.encode())
    (suite,) = root
    for element in (root, suite):
        assert [element.get(key) for key in ("tests", "failures", "errors", "time")] == ["3", "1", "1", "0.750"]
    one, two, three = suite
    assert [case.get("classname") for case in suite] == ["pyproject.toml"] * 3 and suite.get("skipped") == "0"
    assert [child.tag for case in suite for child in case] == ["system-out", "failure", "error"]
    assert one[0].text == check_words.verdict(holds)
    assert two[0].get("message") == check_words.verdict(exceeds) and two[0].text.startswith(two[0].get("message"))
    assert three.get("name") == "bad <&>" and three[0].text == "no ? such ]]> ? network ?"


def test_every_name_stands_in_the_schema(holds, exceeds):
    difference = Difference(1, [], [Change("stem", quantity, 1, 2) for quantity in check_words.SHOWN])
    tables, _ = check.check_report([holds, exceeds], Since("old.json", {"one": difference}), True, "csv")
    assert [table.name for table in tables] == ["checks", "changes", "blocks"]
    assert {column.key for table in tables for column in table.columns} - {None} <= SCHEMA.keys()
