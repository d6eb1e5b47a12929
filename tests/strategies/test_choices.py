"""Facts that are stated once: choices for parts, defaults of a request, columns, rounding to blocks."""

import inspect

import pytest

import costmodel
from costmodel.errors import CostmodelError
from costmodel.ops.forms._formed import Formed
from costmodel.pytorch.validate import validate
from costmodel.step.request import DEFAULTS
from costmodel.strategies import CHOICES, FROZEN, all_frozen, apply, choices_of, chosen_parts, of_code, parts
from costmodel.strategies._forms_of_blocks import filtered, names_in, pruned, rounded
from costmodel.studies.grid.axes import AXES, USUAL
from costmodel.studies.grid.certainties import CERTAINTIES
from costmodel.studies.grid.columns import COLUMNS, TIMES, TYPES, UNITS
from costmodel.targets import parse
from costmodel.views.figures.plan import CHOSEN


def test_every_choice_has_a_letter_of_its_own_and_a_colour():
    assert [choice.letter for choice in CHOICES.values()] == list(CHOICES)
    assert all(letter.islower() and len(letter) == 1 for letter in CHOICES)
    assert {choice.name for choice in CHOICES.values()} <= set(CHOSEN)


@pytest.mark.parametrize("letter, strategy", [("f", "last"), ("b", "bias"), ("t", "full")])
def test_a_choice_for_all_parts_is_the_strategy_of_its_name(letter, strategy):
    network = costmodel.load("mobilenet_v2")
    code = letter * len(parts(network.graph))
    assert apply(of_code(code), network.graph).nodes == apply(strategy, network.graph).nodes


def test_mobiletl_in_the_last_blocks_is_mobiletl():
    graph = costmodel.load("mobilenet_v2").graph
    named = [part.is_block for part in parts(graph)]
    last = max(i for i, is_block in enumerate(named) if is_block)
    code = "f" * (last - 2) + "mmm" + "t" * (len(named) - last - 1)
    assert apply(of_code(code), graph).nodes == apply("mobiletl:3", graph).nodes


@pytest.mark.parametrize("letter, edit", [("q", rounded), ("p", pruned), ("g", filtered)])
def test_a_block_in_a_form_is_in_it_alone(letter, edit):
    graph = costmodel.load("mcunet_5fps").graph
    code = [*all_frozen(graph)]
    place = next(i for i, part in enumerate(parts(graph)) if part.name == graph.blocks[3])
    code[place] = letter
    found = apply(of_code("".join(code)), graph)
    formed = {node.name for node in found.nodes if isinstance(node.op, Formed)}
    assert formed and formed <= names_in(graph, [graph.blocks[3]])
    again = edit(apply("full", graph), [graph.blocks[3]])
    assert {node.name for node in again.nodes if isinstance(node.op, Formed)} == formed


def test_what_a_code_says():
    graph = costmodel.load("mobilenet_v2").graph
    code = all_frozen(graph)
    assert set(choices_of(code)) == {FROZEN}
    first, second, *_ = chosen_parts(of_code("b" + "T" + code[2:]), graph)
    assert first == ("stem", "bias", False) and second == ("features.1", "full", True)
    assert chosen_parts("full", graph) == []
    with pytest.raises(CostmodelError, match="stem has 'm'; allowed: f, b, t"):
        apply(of_code("m" + code[1:]), graph)


@pytest.mark.parametrize("call", [costmodel.estimate, costmodel.plan, costmodel.sweep, costmodel.api.request, validate])
def test_the_defaults_of_public_calls(call):
    shown = inspect.signature(call).parameters
    for name in DEFAULTS.keys() & shown.keys():
        if shown[name].default is not inspect.Parameter.empty:
            assert shown[name].default == DEFAULTS[name], name
    assert {"batch", "convention", "resolution"} <= shown.keys()


def test_the_usual_value_of_every_axis():
    assert list(USUAL) == list(AXES) and DEFAULTS.keys() - {"device"} <= USUAL.keys()


@pytest.mark.parametrize("convention", ["torch", "ideal"])
def test_a_column_is_a_number_of_an_estimate(convention):
    estimate = costmodel.estimate("mobilenet_v2", "last", 2, 64, convention)
    for name, cost in COLUMNS.items():
        value = cost.value(estimate)
        assert isinstance(value, cost.type) or (value is None and convention == "ideal" and cost.has_thresholds)
        assert cost.name == name and UNITS[name] == cost.unit
    assert TYPES.keys() == {*AXES, *COLUMNS, *TIMES, *CERTAINTIES}


def test_blocks_of_a_target():
    assert [parse("cuda").rounded(size) for size in (0, 1, 512, 513)] == [0, 512, 512, 1024]
    assert parse("none").rounded(513) == 513
    assert parse("cuda").period == 16 and parse("none").period == 1
