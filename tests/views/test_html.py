"""Estimates and plans as notebooks show them."""

import re

import pytest

import costmodel
from costmodel.notebook import Shown
from costmodel.views.html import html, trained_parts
from costmodel.views.table import Column, Table, hidden, words

SPEC = """\
network: tiny
channels: 3
resolution: 8
classes: 2
activation: {op: relu6, inplace: true}
stem:
  - {conv: 4, kernel: 3, stride: 2, at: [stem.conv, stem.norm, stem.activation]}
stages:
  - {expand: 2, out: 4, repeat: 4}
tail:
  - {op: mean, at: mean}
  - {op: linear, out_features: classes, at: classifier}
classifier: classifier
"""


@pytest.fixture
def network(spec_file):
    return costmodel.load(spec_file(SPEC))


def test_a_table_is_escaped():
    columns = [words("x", "x<y"), hidden("more"), Column(None, "n", lambda n: f"{n}&")]
    table = Table("<a>\n& b", columns, [["<b>", 5, 1], [None] * 3])
    assert html(table) == (
        "<table><caption>&lt;a&gt;<br>&amp; b</caption>"
        '<tr><th style="text-align: left">x&lt;y</th><th>n</th></tr>'
        '<tr><td style="text-align: left">&lt;b&gt;</td><td>1&amp;</td></tr>'
        '<tr><td style="text-align: left"></td><td></td></tr></table>'
    )


def lines(text):
    """The cells' text, row by row."""
    rows = re.findall("<tr>(.*?)</tr>", text)
    return [re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_an_estimate(network):
    found = costmodel.estimate(network, "last", batch=2, convention="lean", target="none,threads=1")
    text = found._repr_html_()
    assert text.startswith("<table><caption>tiny, last, batch 2 of 3x8x8, sgd, float32<br>Peaks are those of:")
    assert lines(text) == [
        ["", "lean"],
        ["parameters, kB", "3.32"],
        ["buffers (running statistics), kB", "0.776"],
        ["images and targets, kB", "1.55"],
        ["activations that are not saved, kB", "3.07"],
        ["scratch, kB", "0.320"],
        ["peak, kB", "9.04"],
        ["the peak is reached", "forward, blocks.1.depthwise.conv"],
        ["in the whole step, saved for the backward pass, kB", "0.0680"],
        ["in the whole step, gradients of parameters, kB", "0.0400"],
        ["in the whole step, highest level within the step, kB", "3.39"],
        ["parameters that train", "10 of 830"],
        ["where they are", "classifier"],
        ["FLOPs, forward", "41.76 k"],
        ["FLOPs, backward", "32"],
        ["FLOPs, step", "41.79 k"],
    ]
    saved, peak = found.saved_bytes, found.peak_bytes
    assert repr(found) == f"<Estimate of tiny, last, batch 2, lean: {peak} bytes at the peak, {saved} saved>"


def test_an_estimate_without_peak_and_one_without_training(network):
    words = [row[0] for row in lines(costmodel.estimate(network, convention="ideal")._repr_html_())]
    assert "in the whole step, saved for the backward pass, kB" in words
    assert not [word for word in words if "peak" in word or "level" in word]
    assert ["where they are", "nowhere"] in lines(costmodel.estimate(network, "inference")._repr_html_())


def test_a_plan(network):
    found = costmodel.plan(network, 10**6, batch=2, convention="lean", target="none,threads=1")
    text = found._repr_html_()
    assert text.startswith("<table><caption>tiny, batch 2 of 3x8x8, plan:tttttf</caption>")
    rows = lines(text)
    # The inputs of the four blocks, 512 bytes each, are made again of what the parts below keep.
    assert rows[0] == ["part", "trains", "runs again", "trained", "saved, kB", "", "FLOPs"]
    assert rows[1] == ["stem", "full", "", "116", "2.08", "█████████▎", "13.82 k"]
    assert rows[2:6] == [[f"blocks.{k}", "full", "", "176", "2.72", "█" * 12, "26.11 k"] for k in range(4)]
    assert rows[6:] == [
        ["head", "frozen", "", "-", "0", "", "0"],
        ["classifier", "full", "", "10", "0.0320", "▎", "96"],
        ["loss", "", "", "-", "0.0360", "▎", "0"],
    ]
    assert text.endswith(
        "<p>830 trained parameters, the most within 1.00 MB: the peak is 19.87 kB (lean; 980.13 kB left), a step takes"
        " 118.37 k FLOPs.</p><p>frozen: nothing trains.</p><p>full: everything trains, with batch statistics.</p>"
    )
    assert repr(found) == "<Plan for tiny, plan:tttttf: 19872 of 1000000 bytes>"


@pytest.mark.parametrize("strategy, words", [
    ("full", "stem to classifier"), ("last", "classifier"), ("inference", ""), ("blocks:1", "blocks.3, classifier"),
    ("plan:tffttf", "stem, blocks.2 to classifier"), ("plan:tbfffb", "stem, blocks.0, classifier"),
])  # fmt: skip
def test_what_trains_in_words(network, strategy, words):
    assert trained_parts(costmodel.estimate(network, strategy)) == words


def test_results_are_tables_when_a_notebook_asks(network):
    results = (costmodel.estimate(network), costmodel.sweep(network, batch=[1, 2]))
    assert all(isinstance(result, Shown) and "<table>" in result._repr_html_() for result in results)
