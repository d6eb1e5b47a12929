"""What a plan is put together from: parts by themselves, choices, labels and bounds."""

import numpy as np
import pytest

import costmodel
from costmodel import CostmodelError
from costmodel.api import request
from costmodel.ops.stand_ins import Above, Below
from costmodel.step.walk import analyze
from costmodel.studies.grid.columns import COLUMNS
from costmodel.studies.grid.plane import Pricer, runs
from costmodel.studies.plan.labels import History, Labels
from costmodel.studies.plan.part_costs import PartCosts
from costmodel.studies.plan.relaxation import Relaxation
from costmodel.studies.plan.search import Search
from costmodel.studies.plan.unit_options import UnitOptions
from costmodel.studies.plan.values import checked_values, read_values
from costmodel.studies.plan.windows import ALONE
from costmodel.targets.memory_order import CHANNELS_LAST, contiguous


@pytest.fixture(scope="module")
def costs():
    return PartCosts(*request("mobilenet_v2", "last", 2, 65))


def parameters(names, code, cost):
    return cost.parameters


def test_frozen_parts_add_up_to_the_frozen_network(costs):
    whole = costmodel.estimate("mobilenet_v2", "last", 2, 65)
    parts = [costs.of(u, "f", ALONE) for u in range(len(costs.units) - 1)]
    rest = {block["name"]: block["forward_flops"] for block in whole.blocks[len(parts) :]}
    assert sum(part.work for part in parts) + sum(rest.values()) == whole.flops["forward"]
    assert all(part.saved == part.gradients == part.parameters == 0 for part in parts)
    assert [unit.names for unit in costs.units[:2]] == [("stem",), ("features.1",)]


def test_frozen_units_are_priced_as_one():
    """Stock ones as one by one; lean ones lie otherwise together (conventions/_stretch.py), and peak lower."""
    target = "cpu,threads=1,isa=avx512"
    for convention in ("torch", "lean"):
        costs = PartCosts(*request("mobilenet_v2", "last", 8, 224, convention, target=target))
        options = UnitOptions(costs, parameters, False)
        parts = [costs.of(u, "f", ALONE) for u in range(8)]
        below = options.frozen_below[8]
        assert (below.resident, below.work) == tuple(sum(getattr(part, name) for part in parts)
                                                     for name in ("resident", "work"))  # fmt: skip
        highest = max(part.forward for part in parts)
        assert below.forward == highest if convention == "torch" else below.forward < 0.6 * highest
        assert options.least_forward_below[8] <= below.forward
    assert below.forward == costmodel.estimate("mobilenet_v2", "last", 8, 224, "lean", target=target).step_peak_bytes


def test_the_lowest_unit_demands_no_gradient_below_and_a_frozen_one_trains_what_is_above(costs):
    options = UnitOptions(costs, parameters, False)
    assert options.of(0) == [("b", False), ("t", False)]
    assert ("f", True) in options.of(3) and ("f", False) not in options.of(3)
    assert ("f", True) not in UnitOptions(costs, parameters, True).of(3)


def test_what_units_may_add_grows_with_what_they_may_keep_and_ever_more_slowly(costs):
    for curve in Relaxation(UnitOptions(costs, parameters, False)).by_bytes:
        steps = np.diff(curve.value) / np.maximum(np.diff(curve.cost), 1e-9)
        assert (np.diff(curve.cost) >= 0).all() and (np.diff(curve.value) >= 0).all()
        assert (np.diff(steps) <= 1e-9).all()


def test_with_room_for_all_the_search_trains_all(costs):
    found = Search(costs, parameters, 2**40, 0, None, False).best()
    assert found.value == costmodel.load("mobilenet_v2").graph.count_parameters() and found.is_proven
    assert Search(costs, parameters, 1, 0, None, False).best() is None


def test_a_history_spells_the_choices_out():
    history = History()
    first = history.add("b", np.array([-1, -1]))
    second = history.add("F", np.array([first[1]]))
    assert first.tolist() == [0, 1] and second.tolist() == [2]
    assert history.code(2, frozen=2) == "ffFb" and history.code(-1, frozen=1) == "f"


def test_labels_that_another_one_dominates_go():
    start = Labels.start(1, 100)
    dearer, better = start._replace(resident=start.resident + 1), start._replace(value=start.value + 1)
    assert Labels.joined([start, dearer, better]).best(counts_work=True).tolist() == [2]


def test_stand_ins_hand_on_and_keep_what_they_are_told_to():
    below, above = Below(True, CHANNELS_LAST), Above(False, True, contiguous(4))
    assert below.shape((2, 3, 4, 4)) == (2, 3, 4, 4) and below.layout(4) is CHANNELS_LAST
    assert below.needs() == {"x": (), "value": ("y",)} and above.needs() == {"x": ()}
    assert not above.hands_over("x") and above.shape((2, 3)) == ()


def test_values_of_blocks(tmp_path):
    path = tmp_path / "values.csv"
    path.write_text("block,value\na,1\nb,2.5\n")
    assert read_values(str(path)) == {"a": 1, "b": 2.5}
    assert checked_values({"a": 1}, ["a"]) == {"a": {"bias": 1.0, "mobiletl": 1.0, "full": 1.0}}
    with pytest.raises(CostmodelError, match="no value for the block b"):
        checked_values({"a": 1}, ["a", "b"])
    path.write_text("block,value\na,1\na,2\n")
    with pytest.raises(CostmodelError, match="row 3: 'a' stands twice"):
        read_values(str(path))


def test_a_plane_is_priced_as_its_cells_are():
    network, asked = request("mobilenet_v2", "blocks:2", 1, 33)
    sides, batches = [33, 40], [5, 1, 2, 17, 3]
    out = {name: np.empty((2, 5), dtype=np.int64) for name in COLUMNS}
    Pricer().plane(network, asked, sides, batches, out)
    for i, side in enumerate(sides):
        for j, batch in enumerate(batches):
            one = analyze(network, asked._replace(batch=batch, resolution=side))
            assert {name: column[i, j] for name, column in out.items()} == {n: c.value(one) for n, c in COLUMNS.items()}


def test_batches_are_grouped_between_thresholds():
    assert [group.tolist() for group in runs(np.array([1, 2, 15, 16, 40]), (2, 16), 1)] == [[0], [1, 2], [3, 4]]
    assert [group.tolist() for group in runs(np.arange(1, 9), (), 2)] == [[1, 3, 5, 7], [0, 2, 4, 6]]
