"""Grids: every cell equals what `estimate` gives."""

import csv
import io
import random

import numpy as np
import pytest
from real import seldom

import costmodel
from costmodel import CostmodelError
from costmodel.files.shipped import shipped_names
from costmodel.graph.graph import Graph, Node
from costmodel.graph.inputs import images
from costmodel.ops.arithmetic import Add
from costmodel.ops.linear import Linear
from costmodel.ops.pool import AvgPool2d
from costmodel.ops.reduce import Mean
from costmodel.ops.resize import Upsample
from costmodel.sizes.by_batch import Batches, Line
from costmodel.sizes.envelope import envelope
from costmodel.step.peak import Grid, peak_of, running
from costmodel.strategies import _file as strategyfile
from costmodel.strategies import usual
from costmodel.studies.grid.axes import spelled_out
from costmodel.studies.grid.certainties import CERTAINTIES
from costmodel.studies.grid.columns import COLUMNS
from costmodel.studies.grid.resumable import fingerprint
from costmodel.studies.grid.sweep import SweepPlan
from costmodel.targets import parse

BATCHES = [1, 2, 3, 15, 16, 17, 64, 500]


def expected(network, cell):
    """The numbers of one cell by name, by costmodel.estimate; None where there is none."""
    sizes = {key: cell.pop(key) for key in ("classes", "width") if key in cell}
    one = costmodel.estimate(costmodel.load(network, **sizes), **cell)
    memory = one.memory_bytes
    return {
        **{name: cost.value(one) for name, cost in COLUMNS.items()},
        "saved_bytes": memory["saved"],
        "step_peak_bytes": memory["step_peak"],
        "peak_bytes": memory["peak"],
        "forward_flops": one.flops["forward"],
        "backward_flops": one.flops["backward"],
        "trainable_parameters": one.trainable_parameters,
        "trained_blocks": one.trained_blocks,
        "certainty": one.certainty.saved,
        "step_peak_certainty": None if memory["step_peak"] is None else one.certainty.step_peak,
    }


def check_cells(network, sweep, rows=None):
    columns = sweep.to_dict()
    costs = (*COLUMNS, *CERTAINTIES)
    axes = [name for name in columns if name not in costs]
    rest = {key: value for key, value in sweep.fixed.items() if key not in ("network", "width", "classes")}
    for row in range(len(sweep)) if rows is None else rows:
        cell = {name: columns[name][row] for name in axes}
        assert {name: columns[name][row] for name in costs} == expected(network, {**rest, **cell}), (cell, rest)


# -- cells -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [60, *seldom(180)])
def test_random_cells_of_a_large_grid(count):
    sweep = costmodel.sweep("mobilenet_v2", strategy=["full", "last", "norm+last", "blocks:1..17"], batch="1..512",
                            resolution="97..224", target="cpu,threads=1")  # fmt: skip
    assert len(sweep) == 20 * 128 * 512
    assert all(len(column) == len(sweep) and column.dtype == np.int64 for column in map(sweep.__getitem__, COLUMNS))
    chosen = random.Random(0).sample(range(len(sweep)), count)
    # And the batches at which oneDNN's dispatch changes.
    chosen += [512 * plane + place for plane in (0, 500, 1000, 2500) for place in (0, 1, 14, 15, 511)]
    check_cells("mobilenet_v2", sweep, chosen)


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    "network, axes",
    [
        ("mobilenet_v2", {"strategy": "full,blocks:2..3", "target": ["cpu,threads=2", "cpu,isa=avx2,threads=4"]}),
        ("mobilenet_v2", {"strategy": "full,last", "target": "cpu,threads=4,channels_last", "optimizer": "adam"}),
        ("mobilenet_v2", {"strategy": "full,bias", "target": "cuda", "dtype": "float16", "accumulate": [1, 2]}),
        ("mobilenet_v2", {"strategy": "mobiletl:1..2,norm=full", "convention": "lean,ideal,mobiletl"}),
        ("mobilenet_v2", {"strategy": "blocks:3,prefix_slices=4", "convention": "torch,lean"}),
        ("mcunet_5fps", {"strategy": "blocks:3,prefix_slices=2", "convention": "lean", "batch": "1..7"}),
        ("mobilenet_v2", {"strategy": "last,prefix_slices=2", "convention": "lean", "batch": "1..16"}),
        ("mobilenet_v2", {"strategy": "last,prefix_slices=4", "convention": "lean", "batch": "2..9", "target": "none"}),
        ("mcunet_5fps", {"strategy": "last,prefix_slices=5", "convention": "lean", "batch": "1..9,31,99"}),
        ("mobilenet_v2", {"width": "0.35,1.0", "classes": [2, 10], "strategy": "inference,norm+last"}),
        ("mobilenet_v3_small", {"strategy": "full,mobiletl:2", "convention": "torch,lean"}),
        ("efficientnet_b0", {"strategy": "full,blocks:4", "target": "cpu,threads=3"}),
        ("proxyless_mobile_tinytl", {"strategy": "tinytl-l,tinytl-lb", "convention": "torch,lean,tinytl"}),
        ("mobilenet_v4_conv_small", {"strategy": "full", "target": "none", "batch": [2, 15, 16, 400]}),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_every_cell_of_small_grids(network, axes):
    axes = {"target": "cpu,threads=1", "batch": BATCHES, **axes}
    check_cells(network, costmodel.sweep(network, resolution=[64, 97, 224], **axes))


TARGETS = ["none", "cuda", "cpu,threads=1", "cpu,threads=2", "cpu,isa=avx2,threads=8", "cpu,threads=3,channels_last"]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("seed", [*range(12), *seldom(*range(12, 40))])
def test_every_cell_of_random_grids(seed):
    """Any network, strategy, convention and target, at any batches and resolutions."""
    rng = random.Random(seed)
    network = rng.choice(shipped_names("networks"))
    strategies = [*usual(costmodel.load(network).graph), "blocks:1,prefix_slices=3"]
    axes = {
        "strategy": rng.choice([s for s in strategies if network != "proxyless_mobile_tinytl" or "blocks" not in s]),
        "convention": rng.choice(["torch", "torch", "lean", "ideal", "tinytl", "mobiletl"]),
        "optimizer": rng.choice(["sgd", "adam"]),
        "dtype": rng.choice(["float32", "float16"]),
        "target": rng.choice(TARGETS),
        "batch": rng.sample(range(2, rng.choice([12, 40, 700])), rng.randint(2, 7)),
        "resolution": rng.sample(range(64, rng.choice([80, 300])), rng.randint(1, 4)),
    }
    check_cells(network, costmodel.sweep(network, **axes))


PLAN = "plan:fffffffffbbMtMtMtMt"


@pytest.mark.parametrize("convention", ["torch", *seldom("lean")])
def test_two_hundred_random_cells_where_blocks_run_again(convention):
    """Options of a strategy, joined as strategies are."""
    strategies = f"blocks:1..6,checkpoint=blocks,full,checkpoint=blocks,mobiletl:2,norm=full,checkpoint=blocks,{PLAN}"
    strategies += ",blocks:2,prefix_slices=4,blocks:3,checkpoint=blocks,prefix_slices=3"
    for seed, target in enumerate(("cpu,threads=1", "none", "cpu,threads=4")):
        axes = {"convention": convention, "target": target, "batch": "1..64,500", "resolution": "64..128:7,224"}
        sweep = costmodel.sweep("mobilenet_v2", strategy=strategies, **axes)
        assert len(sweep) == 11 * 65 * 11
        check_cells("mobilenet_v2", sweep, random.Random(seed).sample(range(len(sweep)), 70))


def test_a_plan_in_a_file_is_a_strategy_as_it_stood_when_the_sweep_began(tmp_path):
    path = str(tmp_path / "my.first.plan.yaml")
    graph = costmodel.load("mobilenet_v2").graph

    def write_plan(strategy):
        with open(path, "w", encoding="utf-8") as file:
            file.write(strategyfile.text("mobilenet_v2", strategy, graph, {}))

    write_plan(PLAN)
    axes = {"batch": "1..20", "resolution": [65, 128], "target": "cpu,threads=1"}
    sweep = costmodel.sweep("mobilenet_v2", strategy=f"full,{path},{PLAN}", **axes)
    assert set(sweep.strategy) == {"full", path, PLAN}
    check_cells("mobilenet_v2", sweep)
    plan = SweepPlan("mobilenet_v2", {**axes, "strategy": path})
    before = fingerprint(plan, (1, 1))
    write_plan("blocks:3,checkpoint=blocks")
    assert plan.columns(plan.chunks()[0])["peak_bytes"].tolist() == sweep.peak_bytes[40:80].tolist()
    changed = SweepPlan("mobilenet_v2", {**axes, "strategy": path})
    assert fingerprint(plan, (1, 1)) == before != fingerprint(changed, (1, 1))  # which is not gone on with
    check_cells("mobilenet_v2", costmodel.sweep("mobilenet_v2", strategy=path, **axes))


def test_blocks_in_which_something_trains():
    strategies = ["inference", "last", "full", "bias", "blocks:1", "blocks:17", "mobiletl:4,checkpoint=blocks", PLAN]
    sweep = costmodel.sweep("mobilenet_v2", strategy=strategies, convention=["torch", "lean", "ideal"])
    assert sweep.trained_blocks.tolist() == 3 * [0, 0, 17, 17, 1, 17, 4, 9]
    # The first block has no lite residual branch: there only biases can train.
    tinytl = costmodel.sweep("proxyless_mobile_tinytl", strategy="tinytl-l,tinytl-lb,last")
    assert tinytl.trained_blocks.tolist() == [19, 20, 0]
    head = costmodel.estimate("mobilenet_v2", "plan:" + 18 * "f" + "t")
    assert head.trained_blocks == 0 and head.trainable_parameters == 1281 * 1000 + 322 * 1280


def test_where_the_course_of_the_step_depends_on_the_resolution():
    """Squeeze-and-excite on 1x1 maps has nothing to sum, so the grid is priced in parts."""
    sides = "30..36:2,64"
    sweep = costmodel.sweep("mobilenet_v3_small", batch=[2, 3, 40, 41], resolution=sides, target="cpu,threads=1")
    check_cells("mobilenet_v3_small", sweep)


def test_slices_of_one_image_where_the_trained_part_takes_statistics_of_the_batch():
    """5 images in 5 slices: the frozen prefix sees one 1x1 map at a time, which has no batch statistics."""
    axes = {"strategy": "blocks:1,prefix_slices=5", "convention": "lean", "target": "none"}
    sweep = costmodel.sweep("mobilenet_v3_small", batch=[3, 4, 5, 7], resolution=[32, 47], **axes)
    check_cells("mobilenet_v3_small", sweep)


def test_a_batch_axis_in_any_order():
    batches = [64, 1, 500, 3]
    sweep = costmodel.sweep("mobilenet_v2", batch=batches, resolution=[65, 33])
    assert sweep.batch.tolist() == 2 * batches and sweep.resolution.tolist() == [65] * 4 + [33] * 4
    check_cells("mobilenet_v2", sweep)


def test_one_cell_and_the_networks_own_resolution():
    sweep = costmodel.sweep("mobilenet_v2")
    assert (sweep.strategy.tolist(), sweep.batch.tolist(), sweep.resolution.tolist()) == (["full"], [8], [224])
    check_cells("mobilenet_v2", sweep)


def test_an_array_call_is_the_loop_of_scalar_calls():
    """The walk itself, on plain int64 arrays."""
    from costmodel.step.walk import analyze

    network = costmodel.load("mobilenet_v3_small")
    request = costmodel.estimate(network, target="cpu,threads=2").request
    batches, sides = np.array([[1, 2, 16, 33]]), np.array([[97], [160], [224]])
    grid = analyze(network, request._replace(batch=batches, resolution=sides))
    memory, flops = grid.memory_bytes, grid.flops
    for i, side in enumerate(sides[:, 0].tolist()):
        for j, batch in enumerate(batches[0].tolist()):
            one = costmodel.estimate(network, batch=batch, resolution=side, target="cpu,threads=2")
            assert {key: np.broadcast_to(v, (3, 4))[i, j] for key, v in memory.items()} == one.memory_bytes
            assert {key: np.broadcast_to(v, (3, 4))[i, j] for key, v in flops.items()} == one.flops


# -- lines and peaks ---------------------------------------------------------------------------------------------


def test_arithmetic_of_lines_is_that_of_arrays():
    batches = Batches([3, 5, 9, 15])
    rng = np.random.default_rng(0)

    def line():
        return Line(rng.integers(-50, 50, (4, 1)), rng.integers(-9, 9, (4, 1)), batches)

    for _ in range(50):
        a, b, column, dense = line(), line(), rng.integers(1, 9, (4, 1)), rng.integers(-50, 50, (4, 4))
        for other in (b, 3, column, dense):
            x, y = a.dense(), other.dense() if isinstance(other, Line) else other
            for got, want in (
                (a + other, x + y),
                (other + a, y + x),
                (a - other, x - y),
                (other - a, y - x),
                (a * other, x * y),
                (other * a, y * x),
                (np.maximum(a, other), np.maximum(x, y)),
                (np.minimum(other, a), np.minimum(y, x)),
                (a > other, x > y),
                (other >= a, y >= x),
                (a < other, x < y),
                (a == other, x == y),
                (a != other, x != y),
                (np.where(column > 4, a, other), np.where(column > 4, x, y)),
                (np.where(dense > 4, other, a), np.where(dense > 4, y, x)),
                (-a // 4, -x // 4),
                (a % 3, x % 3),
            ):
                got = got.dense() if isinstance(got, Line) else got
                assert np.array_equal(np.broadcast_to(got, (4, 4)), np.broadcast_to(want, (4, 4)))


def test_the_envelope_is_the_largest_of_all_lines():
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 40):
        for places in ([1], [1, 2], list(range(1, 60)), sorted(rng.choice(10**6, 30, replace=False) + 1)):
            batches = Batches(places)
            lines = rng.integers(-30, 30, (count, 2, 5))
            lines[:, 0] *= rng.integers(1, 200)
            lines[:, 0] -= lines[:, 1] ** 2 * rng.integers(0, 3)  # many lines touch their envelope
            brute = (lines[:, 0, :, None] + lines[:, 1, :, None] * batches.places).max(axis=0)
            assert np.array_equal(envelope(lines, batches), brute)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("target", ["cpu,threads=1", "cpu,threads=2", "cpu,isa=avx2,threads=4", "cuda"])
def test_peaks_are_those_of_all_events(target):
    from costmodel.step.walk import analyze

    network = costmodel.load("mobilenet_v2")
    for strategy in ("full", "last", "blocks:2", "blocks:9"):
        request = costmodel.estimate(network, strategy, target=target).request
        for batches in (list(range(2, 16)), list(range(16, 200, 16)), list(range(1, 40))):
            side = np.arange(100, 116)[:, None]
            memory = analyze(network, request._replace(batch=Batches(batches).size, resolution=side)).memory
            assert isinstance(memory.sizes, Grid)
            assert np.array_equal(peak_of(*memory), running(*memory))


# -- the table ---------------------------------------------------------------------------------------------------


def test_columns_and_views_of_a_sweep():
    sweep = costmodel.sweep("mobilenet_v2", strategy="full,blocks:1..2", batch="1..4:2", convention=["torch", "ideal"])
    assert list(sweep.columns) == ["strategy", "batch", "resolution", "convention", "target", *COLUMNS, *CERTAINTIES]
    assert sweep.saved_bytes is sweep["saved_bytes"]
    assert sweep.to_dict()["peak_bytes"][6:] == [None] * 6  # ideal has no peak
    rows = list(csv.reader(io.StringIO(sweep.to_csv())))
    assert rows[0] == list(sweep.columns) and len(rows) == 1 + 12
    assert rows[1][:5] == ["full", "1", "224", "torch", parse("cpu").text] and rows[-1][6:8] == ["", ""]
    html = sweep._repr_html_()
    assert "12 cells" in html and html.count("<tr>") == 12 and "blocks:2" in html
    with pytest.raises(CostmodelError, match="did you mean 'saved_bytes'"):
        sweep["saved_byte"]
    with pytest.raises(AttributeError, match="columns are strategy"):
        getattr(sweep, "memory")  # noqa: B009


def test_to_dataframe_and_parquet(tmp_path, monkeypatch):
    sweep = costmodel.sweep("mobilenet_v2", convention=["torch", "ideal"])
    parquet = str(tmp_path / "x.parquet")
    for name, call in (("pandas", sweep.to_dataframe), ("pyarrow", lambda: sweep.to_parquet(parquet))):
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, name, None)
            with pytest.raises(CostmodelError, match=f"pip install {name}"):
                call()


def test_to_dataframe_has_the_same_numbers():
    pytest.importorskip("pandas")
    sweep = costmodel.sweep("mobilenet_v2", batch=[1, 2], convention=["torch", "ideal"])
    frame = sweep.to_dataframe()
    assert frame["saved_bytes"].tolist() == sweep.saved_bytes.tolist()
    assert frame["peak_bytes"].isna().tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    "name, given, values",
    [
        ("batch", "1..4", (1, 2, 3, 4)),
        ("batch", "96..224:32,1", (96, 128, 160, 192, 224, 1)),
        ("batch", [8, "8..9", np.int64(2)], (8, 9, 2)),
        ("batch", range(2, 4), (2, 3)),
        ("resolution", None, (None,)),
        ("strategy", "full,mobiletl:1..2,norm=full,act=exact,last",
         ("full", "mobiletl:1,norm=full,act=exact", "mobiletl:2,norm=full,act=exact", "last")),
        ("strategy", "blocks:1..3,checkpoint=blocks", tuple(f"blocks:{k},checkpoint=blocks" for k in (1, 2, 3))),
        ("strategy", "full,blocks:2,prefix_slices=4,checkpoint=blocks",
         ("full", "blocks:2,prefix_slices=4,checkpoint=blocks")),
        ("strategy", "my.plan.yaml,checkpoint=blocks,../b.yml", ("my.plan.yaml,checkpoint=blocks", "../b.yml")),
        ("strategy", "plan:ffMt,prefix_slices=2,last", ("plan:ffMt,prefix_slices=2", "last")),
        ("strategy", ["blocks:1..5:2"], ("blocks:1", "blocks:3", "blocks:5")),
        ("target", "cpu,threads=2", ("cpu,threads=2",)),
        ("optimizer", "adam,foreach,sgd", ("adam,foreach", "sgd")),
        ("optimizer", ["sgd,adam", "adamw,fused,adam,foreach"], ("sgd", "adam", "adamw,fused", "adam,foreach")),
        ("width", "0.5,1", (0.5, 1.0)),
    ],
)  # fmt: skip
def test_axes_spelled_out(name, given, values):
    assert spelled_out(name, given) == values


BAD = [
    ({"batch": []}, "batch has no values"),
    ({"strategy": ()}, "strategy has no values"),
    ({"batch": "5..2"}, "batch '5..2' runs backwards"),
    ({"strategy": "blocks:5..2"}, "'blocks:5..2' runs backwards"),
    ({"batch": "1..9:0"}, "has the step 0"),
    ({"batch": "1..999999999999"}, "999999999999 values"),
    ({"batch": 0}, "batch is 0"),
    ({"batch": True}, "batch is True"),
    ({"batch": [1.5]}, "batch is 1.5"),
    ({"batch": "eight"}, "batch is 'eight'"),
    ({"strategy": [3]}, "strategy is 3"),
    ({"strategy": "full,nowhere.plan.yaml"}, "cannot read 'nowhere.plan.yaml'"),
    ({"strategy": "checkpoint=blocks,full"}, "unknown strategy 'checkpoint=blocks'"),
    ({"strategy": "full,checkpoint=all"}, "checkpoint is 'all'; allowed: blocks"),
    ({"strategy": "plan:fft"}, "found 3 letters"),
    ({"strategy": "blocks:17..18"}, "from 1 to 17"),
    ({"width": "wide"}, "width is 'wide'"),
    ({"speed": 3}, "unknown axis 'speed'"),
    ({"convention": "torhc"}, "did you mean 'torch'"),
    ({"dtype": "int8"}, "unknown dtype"),
    ({"batch": [1, 2**50]}, "batch 1125899906842624, resolution 224: the cost exceeds 64 bits"),
    ({"batch": [4, 1, 2], "resolution": [64, 32]}, "batch 1, resolution 32: .*batch statistics of one value"),
]


@pytest.mark.parametrize("axes, message", BAD, ids=[str(axes) for axes, _ in BAD])
def test_a_bad_request_says_what_is_wrong(axes, message):
    with pytest.raises(CostmodelError, match=message):
        costmodel.sweep("mobilenet_v2", **axes)


def test_a_cell_inside_the_grid_without_a_cost_is_named():
    """Half the resolution, doubled again, is the resolution where that is even."""
    nodes = [
        Node("half", AvgPool2d(2), ("input",)),
        Node("again", Upsample(2), ("half",)),
        Node("sum", Add(), ("again", "input")),
        Node("mean", Mean(), ("sum",)),
        Node("classifier", Linear(3, 2), ("mean",)),
    ]
    network = costmodel.Network("halved", Graph(tuple(nodes), classifier="classifier"), images(32))
    sweep = costmodel.sweep(network, resolution="8..64:2", batch="1..9")
    check_cells(network, sweep)
    with pytest.raises(CostmodelError, match="halved, batch 9, resolution 33: node 'sum' .* do not broadcast"):
        costmodel.sweep(network, resolution=[8, 16, 32, 33, 34, 35, 64], batch=[9])


def test_a_grid_too_large_for_memory_says_where_it_can_go(monkeypatch):
    monkeypatch.setattr("costmodel.studies.grid.sweep.MOST_IN_MEMORY", 100)
    with pytest.raises(CostmodelError, match="101 cells; allowed in memory: 100.*-o"):
        costmodel.sweep("mobilenet_v2", batch="1..101")
