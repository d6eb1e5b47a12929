"""Grids: every cell is what `estimate` gives, however it is made, split, interrupted or written."""

import csv
import io
import random

import numpy as np
import pytest
from click.testing import CliRunner

import costmodel
from costmodel import CostmodelError
from costmodel.axes import spelled_out
from costmodel.cli import main
from costmodel.frontends.files import shipped_names
from costmodel.graph import Graph, Node
from costmodel.gridfiles import write
from costmodel.lines import Batches, Line
from costmodel.ops.join import Add
from costmodel.ops.linear import Linear
from costmodel.ops.pool import AvgPool2d
from costmodel.ops.reduce import Mean
from costmodel.ops.resize import Upsample
from costmodel.peaks import Grid, envelope, highest, running
from costmodel.pricing import COLUMNS
from costmodel.strategy import usual
from costmodel.sweeps import SweepPlan

BATCHES = [1, 2, 3, 15, 16, 17, 64, 500]


def expected(network, cell):
    """The numbers of one cell, by costmodel.estimate; None where there is none."""
    sizes = {key: cell.pop(key) for key in ("classes", "width") if key in cell}
    one = costmodel.estimate(costmodel.load(network, **sizes), **cell)
    memory = one.memory_bytes
    return (memory["saved"], memory["step_peak"], memory["peak"], one.flops["forward"], one.flops["backward"],
            one.trainable_parameters)  # fmt: skip


def check_cells(network, sweep, rows=None):
    columns = sweep.to_dict()
    axes = [name for name in columns if name not in COLUMNS]
    rest = {key: value for key, value in sweep.fixed.items() if key not in ("network", "width", "classes")}
    for row in range(len(sweep)) if rows is None else rows:
        cell = {name: columns[name][row] for name in axes}
        assert tuple(columns[name][row] for name in COLUMNS) == expected(network, {**rest, **cell}), (cell, rest)


# -- cells -------------------------------------------------------------------------------------------------------


def test_two_hundred_random_cells_of_a_large_grid():
    sweep = costmodel.sweep("mobilenet_v2", strategy=["full", "last", "norm+last", "blocks:1..17"], batch="1..512",
                            resolution="97..224", target="cpu,threads=1")  # fmt: skip
    assert len(sweep) == 20 * 128 * 512
    assert all(len(column) == len(sweep) and column.dtype == np.int64 for column in map(sweep.__getitem__, COLUMNS))
    chosen = random.Random(0).sample(range(len(sweep)), 180)
    # And the batches at which oneDNN's dispatch changes.
    chosen += [512 * plane + place for plane in (0, 500, 1000, 2500) for place in (0, 1, 14, 15, 511)]
    check_cells("mobilenet_v2", sweep, chosen)


@pytest.mark.parametrize(
    "network, axes",
    [
        ("mobilenet_v2", {"strategy": "full,blocks:2..3", "target": ["cpu,threads=2", "cpu,isa=avx2,threads=4"]}),
        ("mobilenet_v2", {"strategy": "full,last", "target": "cpu,threads=4,channels_last", "optimizer": "adam"}),
        ("mobilenet_v2", {"strategy": "full,bias", "target": "cuda", "dtype": "float16", "accumulate": [1, 2]}),
        ("mobilenet_v2", {"strategy": "mobiletl:1..2,norm=full", "convention": "lean,ideal,mobiletl"}),
        ("mobilenet_v2", {"strategy": "blocks:3,prefix_slices=4", "convention": "torch,lean"}),
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


@pytest.mark.parametrize("seed", range(40))
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


def test_where_the_course_of_the_step_depends_on_the_resolution():
    """Squeeze-and-excite on 1x1 maps sums nothing up: the grid is priced in parts."""
    sides = "30..36:2,64"
    sweep = costmodel.sweep("mobilenet_v3_small", batch=[2, 3, 40, 41], resolution=sides, target="cpu,threads=1")
    check_cells("mobilenet_v3_small", sweep)


def test_slices_of_one_image_where_the_trained_part_takes_statistics_of_the_batch():
    """5 images in 5 slices: the frozen prefix sees one 1x1 map at a time, and has no statistics to take of it."""
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
    from costmodel.analyze import analyze

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
                (a + other, x + y), (other + a, y + x), (a - other, x - y), (other - a, y - x), (a * other, x * y),
                (other * a, y * x), (np.maximum(a, other), np.maximum(x, y)), (np.minimum(other, a), np.minimum(y, x)),
                (a > other, x > y), (other >= a, y >= x), (a < other, x < y), (a == other, x == y),
                (a != other, x != y),
                (np.where(column > 4, a, other), np.where(column > 4, x, y)),
                (np.where(dense > 4, other, a), np.where(dense > 4, y, x)), (-a // 4, -x // 4), (a % 3, x % 3),
            ):  # fmt: skip
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


@pytest.mark.parametrize("target", ["cpu,threads=1", "cpu,threads=2", "cpu,isa=avx2,threads=4", "cuda"])
def test_peaks_are_those_of_all_events(target):
    from costmodel.analyze import analyze

    network = costmodel.load("mobilenet_v2")
    for strategy in ("full", "last", "blocks:2", "blocks:9"):
        request = costmodel.estimate(network, strategy, target=target).request
        for batches in (list(range(2, 16)), list(range(16, 200, 16)), list(range(1, 40))):
            side = np.arange(100, 116)[:, None]
            memory = analyze(network, request._replace(batch=Batches(batches).size, resolution=side)).memory
            assert isinstance(memory.sizes, Grid)
            assert np.array_equal(highest(*memory), running(*memory))


# -- the table ---------------------------------------------------------------------------------------------------


def test_columns_and_views_of_a_sweep():
    sweep = costmodel.sweep("mobilenet_v2", strategy="full,blocks:1..2", batch="1..4:2", convention=["torch", "ideal"])
    assert list(sweep.columns) == ["strategy", "batch", "resolution", "convention", *COLUMNS]
    assert sweep.saved_bytes is sweep["saved_bytes"]
    assert sweep.to_dict()["peak_bytes"][6:] == [None] * 6  # ideal has no peak
    rows = list(csv.reader(io.StringIO(sweep.to_csv())))
    assert rows[0] == list(sweep.columns) and len(rows) == 1 + 12
    assert rows[1][:4] == ["full", "1", "224", "torch"] and rows[-1][5:7] == ["", ""]
    html = sweep._repr_html_()
    assert "12 cells" in html and html.count("<tr>") == 12 and "blocks:2" in html
    with pytest.raises(CostmodelError, match="did you mean 'saved_bytes'"):
        sweep["saved_byte"]
    with pytest.raises(AttributeError, match="columns are strategy"):
        sweep.memory


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


def test_to_parquet_has_the_same_numbers(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    sweep = costmodel.sweep("mobilenet_v2", batch=[1, 2], convention=["torch", "ideal"])
    sweep.to_parquet(str(tmp_path / "x.parquet"))
    assert parquet.read_table(tmp_path / "x.parquet").to_pydict() == sweep.to_dict()


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
        ("strategy", ["blocks:1..5:2"], ("blocks:1", "blocks:3", "blocks:5")),
        ("target", "cpu,threads=2", ("cpu,threads=2",)),
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
    network = costmodel.Network("halved", Graph(tuple(nodes), classifier="classifier"), 32)
    sweep = costmodel.sweep(network, resolution="8..64:2", batch="1..9")
    check_cells(network, sweep)
    with pytest.raises(CostmodelError, match="halved, batch 9, resolution 33: node 'sum' .* do not broadcast"):
        costmodel.sweep(network, resolution=[8, 16, 32, 33, 34, 35, 64], batch=[9])


def test_a_grid_too_large_for_memory_says_where_it_can_go(monkeypatch):
    monkeypatch.setattr("costmodel.sweeps.MOST_IN_MEMORY", 100)
    with pytest.raises(CostmodelError, match="101 cells; allowed in memory: 100.*-o"):
        costmodel.sweep("mobilenet_v2", batch="1..101")


# -- files, shards, interruptions --------------------------------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr("costmodel.sweeps.CELLS", 8)
    monkeypatch.setattr("costmodel.sweeps.ROWS", 2)


AXES = {"strategy": "full,last", "resolution": [64, 96, 128], "target": "none"}


def plans():
    """Plans whose chunks are several rows, and several pieces of one row."""
    return [SweepPlan("mobilenet_v2", {**AXES, "batch": batch}) for batch in ("1..3", "1..10")]


def test_chunks_make_up_the_whole(small_chunks):
    for plan in plans():
        parts = [plan.columns(chunk) for chunk in plan.chunks()]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in plan.column_names}
        assert len(plan.chunks()) > 3
        assert sum(chunk.cells for chunk in plan.chunks()) == plan.cells == len(whole["batch"])
        sweep = costmodel.sweep("mobilenet_v2", **AXES, batch=list(plan.axes["batch"]))
        assert {name: column.tolist() for name, column in whole.items()} == sweep.to_dict()


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 100])
def test_shards_concatenate_to_the_whole(small_chunks, parts):
    for plan in plans():
        chunks = [chunk for i in range(1, parts + 1) for chunk in plan.chunks((i, parts))]
        assert chunks == plan.chunks()


def test_an_interrupted_sweep_resumes_and_ends_equal(small_chunks, tmp_path):
    whole = tmp_path / "whole.csv"
    for plan in plans():
        list(write(plan, str(whole), force=True))
        chunks = len(plan.chunks())
        for stop in range(chunks + 1):
            part = tmp_path / f"{stop}.csv"
            writing = write(plan, str(part), force=True)
            for _ in range(stop + 1):
                next(writing)
            writing.close()  # as an interruption does
            assert not part.exists()
            with open(f"{part}.unfinished", "a") as file:
                file.write("full,1,")  # what was being written
            resumed = list(write(plan, str(part)))
            assert resumed[0] == sum(chunk.cells for chunk in plan.chunks()[:stop])
            assert part.read_bytes() == whole.read_bytes()
            part.unlink()
        assert [path.name for path in tmp_path.iterdir()] == ["whole.csv"]


def test_what_another_sweep_left_is_not_lost(small_chunks, tmp_path):
    one, other = plans()
    path = tmp_path / "grid.csv"
    writing = write(one, str(path))
    next(writing), next(writing)
    writing.close()
    left = (tmp_path / "grid.csv.unfinished").read_bytes()
    with pytest.raises(CostmodelError, match="another sweep left unfinished"):
        list(write(other, str(path)))
    assert (tmp_path / "grid.csv.unfinished").read_bytes() == left
    list(write(other, str(path), force=True))
    assert len(path.read_text().splitlines()) == 1 + other.cells


def run(*arguments):
    return CliRunner().invoke(main, ["sweep", "mobilenet_v2", *arguments])


def test_the_command_writes_a_file(tmp_path):
    path = tmp_path / "grid.csv"
    result = run("--strategy", "full,blocks:1..2", "--batch", "1..8", "--resolution", "96..160:32", "-o", str(path))
    assert result.exit_code == 0 and result.stdout == ""
    sweep = costmodel.sweep("mobilenet_v2", "full,blocks:1..2", "1..8", "96..160:32")
    assert path.read_text() == sweep.to_csv()
    before = path.read_bytes()
    again = run("--batch", "4", "-o", str(path))
    assert again.exit_code == 2 and "exists" in again.stderr and path.read_bytes() == before
    assert run("--batch", "4", "-o", str(path), "--force").exit_code == 0
    assert len(path.read_text().splitlines()) == 2


def test_the_command_prints_without_a_file():
    assert run("--batch", "1,2", "--format", "csv").stdout == costmodel.sweep("mobilenet_v2", batch="1,2").to_csv()
    import json

    document = json.loads(run("--batch", "1,2", "--format", "json").stdout)
    assert document["columns"] == costmodel.sweep("mobilenet_v2", batch="1,2").to_dict()
    assert "saved, MB" in run("--batch", "1,2").stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--batch", "5..2"), "runs backwards"),
        (("--batch", ""), "batch is ''"),
        (("--shard", "3/2"), "shard is '3/2'"),
        (("--shard", "0/2"), "shard is '0/2'"),
        (("--shard", "x"), "shard is 'x'"),
        (("--batch", "1..100000"), "too many for table"),
        (("-o", "grid.txt"), "ends in .csv"),
        (("-o", "/nowhere/grid.csv"), "cannot be written"),
        (("--batch", "1,2", "--resolution", "32"), "batch 1, resolution 32"),
    ],
)
def test_bad_requests_exit_with_2_and_one_message(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.stderr and result.stdout == ""
    assert "Traceback" not in result.stderr and result.stderr.count("Error") == 1
