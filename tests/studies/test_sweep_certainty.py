"""How certain the cells of a sweep are."""

from strange import Base

import costmodel
from costmodel.graph.graph import Graph, Node
from costmodel.graph.inputs import images
from costmodel.ops.conv import Conv2d
from costmodel.ops.linear import Linear
from costmodel.ops.reduce import Mean
from costmodel.studies.grid.certainties import DEGREES, if_held, is_least, least_notes


def test_each_cell_says_how_certain_it_is():
    grid = {"batch": "1,2,8", "resolution": "33,40", "target": "cpu,threads=1,isa=avx512"}
    of_module = costmodel.sweep(Base(), convention="torch,lean", **grid)
    for convention in ("torch", "lean"):
        mine = [word for word, one in zip(of_module.certainty, of_module.convention) if one == convention]
        ends = ["checked" if convention == "torch" else "rule"]
        assert mine == [*ends, "rule", "rule", "rule", "rule", *ends]
    assert of_module.certainty.tolist() == of_module.step_peak_certainty.tolist() and of_module.notes == ()
    assert set(costmodel.sweep(Base(), check=False, **grid).certainty) == {"rule"}
    halves = costmodel.sweep(Base(), dtype="float32,bfloat16", **grid)
    assert set(halves.certainty[halves.dtype == "bfloat16"]) == {"checked", "rule"}
    assert (halves.step_peak_certainty == "not_modelled").tolist() == (halves.dtype == "bfloat16").tolist()
    assert halves.notes == ("The allocator's peak is at least this in 6 of 12 cells (step_peak_certainty).",)


def test_a_kernel_may_have_a_rule_in_some_cells_only():
    """A 5x5 window with a padding of 2 is modelled where the map is at least two pixels wide."""
    conv = Node("conv", Conv2d(3, 8, 5, stride=4, padding=2), ("input",), frozenset({"weight"}))
    nodes = conv, Node("mean", Mean(), ("conv",)), Node("fc", Linear(8, 2), ("mean",))
    network = costmodel.Network("net", Graph(nodes, classifier="fc"), images(16))
    found = costmodel.sweep(network, "full", "1,2", "4,5,8", target="cpu,threads=1,isa=avx512")
    assert found.step_peak_certainty.tolist() == ["not_modelled"] * 2 + ["rule"] * 4


def test_what_a_degree_is_where_a_dry_step_agrees():
    held = [DEGREES[if_held(n)] for n in range(len(DEGREES))]
    assert held == ["checked", "checked", "probed", "not_modelled", "lower_bound"]
    assert if_held(-1) == -1 and [n for n in range(len(DEGREES)) if is_least(n)] == [3, 4]


def test_a_table_that_does_not_say_is_not_doubted():
    assert list(least_notes({"peak_bytes": [1, 2]})) == []
    assert list(least_notes({"step_peak_certainty": ["rule", None, "checked"]})) == []
    (note,) = least_notes({"step_peak_certainty": ["lower_bound", "not_modelled"]})
    assert "in all cells" in note
