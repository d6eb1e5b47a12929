"""Strategies as texts: read once, and written again letter by letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.strategies import StrategyText, read_text, split_list

TEXTS = ("full", "blocks:3", "blocks:", "mobiletl:4,norm=full", "plan:fbMt,prefix_slices=8",
         "my.plan.yaml,checkpoint=blocks", "C:\\plans\\one.yml", "full,", "full,norm", "full,norm=",
         "full,a=b=c")  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_written_again_as_it_was(text):
    assert str(read_text(text)) == text
    assert read_text(read_text(text)) == read_text(text)


@given(st.text(alphabet="ab:,=.3", max_size=12))
def test_any_text_is_written_again_as_it_was(text):
    assert str(read_text(text)) == text


def test_the_parts_of_a_text():
    assert read_text("mobiletl:4,norm=full,act") == StrategyText("mobiletl", "4", (("norm", "full"), ("act", None)))
    assert read_text("a:b.yaml,x=1") == StrategyText("a:b.yaml", None, (("x", "1"),)) and read_text("a:b.yaml").is_file
    assert not read_text("a.yaml:3").is_file
    assert str(read_text("blocks:3,checkpoint=blocks").with_argument(5)) == "blocks:5,checkpoint=blocks"


def test_families():
    found = [(str(read_text(s).family), read_text(s).blocks)
             for s in ("full", "blocks:3", "mobiletl:4,norm=full", "plan:fbMt", "my.plan.yaml")]  # fmt: skip
    assert found == [
        ("full", None),
        ("blocks", 3),
        ("mobiletl,norm=full", 4),
        ("plan:fbMt", None),
        ("my.plan.yaml", None),
    ]


def test_a_list_is_split_before_names_and_not_before_options():
    assert split_list("full,blocks:3,checkpoint=blocks,prefix_slices=8,bias") == [
        "full",
        "blocks:3,checkpoint=blocks,prefix_slices=8",
        "bias",
    ]
