"""Chains: a block of a plan makes its input again of what the block below keeps, and the parts' costs still add up."""

import random

import pytest
from real import seldom

import costmodel
from costmodel import CostmodelError
from costmodel.api import request
from costmodel.conventions._runs import Runs
from costmodel.graph.recompute import NormKind, Terms
from costmodel.ops.stand_ins import Above, Below
from costmodel.pytorch import measure, realize
from costmodel.strategies import parts
from costmodel.studies.plan import plan as plans
from costmodel.studies.plan.limit import Limit
from costmodel.studies.plan.part_costs import PartCosts
from costmodel.studies.plan.unit_options import UnitOptions
from costmodel.studies.plan.windows import ALONE
from costmodel.targets.memory_order import contiguous

TARGETS = ("none", "cpu,threads=1,isa=avx512", "cpu,threads=2,isa=avx2", "cpu,threads=1,isa=avx512,channels_last")


def drawn(draw, graph):
    """A choice for each part: frozen ones below, above them mostly what trains weights."""
    found, letters = [], draw.choice(("tx", "txmk", ""))
    lowest = draw.randrange(len(parts(graph)))
    for i, part in enumerate(parts(graph)):
        choices = [c for c in part.choices() if not letters or c in letters] or part.choices()
        found.append("f" if i < lowest else draw.choice(choices))
    code = "".join(found)
    trained = code.lstrip("fF")
    return "f" * (len(code) - len(trained)) + trained


def held_against_the_whole(network, code, **asked):
    """Whether a search that may choose this code alone needs exactly the peak of the whole network's estimate."""
    whole = costmodel.estimate(network, f"plan:{code}", convention="lean", **asked)
    batch = asked.pop("batch")
    planner = plans._planner(
        network, 1, batch, "parameters", Limit(), {}, {**asked, "convention": "lean", "dtype": "float32"}
    )
    costs = planner.costs(batch, 1)
    letters = dict(zip([part.name for part in parts(network.graph)], code))
    costs.units = [unit._replace(codes=("".join(letters[name] for name in unit.names),)) for unit in costs.units]
    enough, less = (
        planner.search(costs, budget, None, planner.value).any() for budget in (whole.peak_bytes, whole.peak_bytes - 1)
    )
    assert enough is not None and enough.value == whole.trainable_parameters
    assert enough.code != code or enough.work == whole.flops["total"]
    assert less is None or less.value < whole.trainable_parameters  # it may freeze more from below


@pytest.mark.parametrize("name, draws", [
    ("mobilenet_v2", 4), ("mobilenet_v3_small", 4), *seldom(
        ("mobilenet_v2", 30), ("mobilenet_v3_large", 30), ("efficientnet_b0", 30), ("mnasnet_b1", 30),
        ("mobilenet_v4_conv_small", 30), ("proxyless_mobile_tinytl", 30), ("mcunet_5fps", 30),
        ("timm:resnet18", 20), ("timm:efficientnet_b0_gn", 12), ("timm:mobilenetv1_100", 20), ("timm:mixnet_s", 6),
    ),
])  # fmt: skip
def test_the_costs_of_parts_add_up_for_any_choice(name, draws):
    network, draw = costmodel.load(name), random.Random(name)
    for _ in range(draws):
        code = drawn(draw, network.graph)
        asked = dict(batch=draw.choice((1, 3, 8)), resolution=draw.choice((65, 97, 128)), target=draw.choice(TARGETS))
        try:
            held_against_the_whole(network, code, optimizer=draw.choice(("sgd", "adam")), **asked)
        except CostmodelError as error:
            assert "no block has a backward pass" in str(error) or "batch statistics of one value" in str(error)


@pytest.mark.parametrize("name, code", [
    ("mobilenet_v2", "ffffftxxttttxxttttt"), *seldom(
        ("mobilenet_v2", "tttxtttttttxttttttt"), ("mobilenet_v3_large", "fttkttxtTttmtttxt"),
        ("efficientnet_b0", "bttxttmtxttttttttt"),
        ("mobilenet_v4_conv_small", "tttttttxttxtttttttt"), ("proxyless_mobile_tinytl", "ffttttttttttttttttttxt"),
    ),
])  # fmt: skip
def test_a_real_step(name, code):
    """On this machine, by its own rules."""
    asked = dict(batch=2, resolution=97, target="cpu,threads=1")
    found = costmodel.estimate(name, f"plan:{code}", convention="lean", **asked)
    real = measure(realize(name, f"plan:{code}", "lean"), **asked)
    alone = costmodel.estimate(name, f"plan:{code}", convention="lean", **{**asked, "target": "none"})
    assert (alone.saved_bytes, alone.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
    assert found.step_peak_bytes == real.step_peak_bytes or found.certainty.step_peak == "not_modelled"


def test_what_a_block_hands_on():
    """MobileNetV2's fourth stage: its first block hands on a norm's result, the second the sum of that and its own."""
    options = UnitOptions(PartCosts(*request("mobilenet_v2", "last", 2, 65, "lean")), lambda *_: 0.0, False)
    batch = NormKind(batch=True)
    first, second, third = (Terms(n, n - 1, "", batch, may_be_last=n == 1) for n in (1, 2, 3))
    kept = Terms(1, 1, "", batch)  # the sum of a norm's result and of an input that is kept
    assert [u for u, unit in enumerate(options.costs.units) if unit.names == ("features.7",)] == [7]
    assert options.given[8] == (first,)
    assert {*options.given[9]} == {kept, second}
    assert {*options.given[10]} == {kept, Terms(2, 2, "", batch), third}
    assert [options.makes_input(8, code) for code in "txmbfkTX"] == [True, True, True, *[False] * 5]
    # Its input is not kept: 2 x 64 x 5 x 5 numbers.
    around = ALONE._replace(demanded=True)
    keeping, making = (options.costs.of(8, "t", around._replace(given=given)) for given in (None, first))
    assert (keeping.keeps_input, making.keeps_input, making.makes_input) == (True, False, True)
    assert options.costs.boundary_bytes(7) == 2 * 64 * 5 * 5 * 4
    assert keeping.saved == making.saved and keeping.work == making.work


def test_stock_modules_hand_nothing_on():
    options = UnitOptions(PartCosts(*request("mobilenet_v2", "last", 2, 65)), lambda *_: 0.0, False)
    assert not any(options.given) and options.inputs(8, "t", True) == (None,)


def test_stand_ins_tell_what_a_value_is_made_of():
    terms = Terms(1, 0, "", NormKind(True))
    assert Below(False, contiguous(4), terms).needs() == {"x": (), "value": ()}
    assert Above(False, False, contiguous(4), makes_again=True).needs() == {"x": ("x",)}
    assert terms.plus(terms) is None  # none of the two is a norm's result alone
    assert terms._replace(may_be_last=True).plus(terms) == Terms(2, 1, "", NormKind(True))
    assert terms._replace(may_be_last=True).plus(terms._replace(kind=NormKind(False, 4))) is None


def test_where_nodes_run():
    """A block's output reaches the next block's convolutions, and no further; without parts everything is in reach."""
    graph = costmodel.estimate("mobilenet_v2", "full,recompute=parts", 2, 33).graph
    number = {node.name: i for i, node in enumerate(graph.nodes)}
    last, near, far = (number[name] for name in ("features.6.conv.3", "features.7.conv.0.0", "features.8.conv.0.0"))
    runs = Runs(graph, graph)
    assert runs.in_reach([last], [near], across=True) and not runs.in_reach([last], [near])
    assert not runs.in_reach([last], [far], across=True) and not runs.in_reach([last], [near + 1], across=True)
    assert runs.one_part(near, near + 1) and not runs.together(last, near) and runs.same([last + 1], [last, near])
    whole = costmodel.estimate("mobilenet_v2", "full", 2, 33).graph
    assert Runs(whole, whole).in_reach([last], [far])
