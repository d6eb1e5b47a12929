"""Grids in files: chunk by chunk, in shards, interrupted and resumed, as CSV and as Parquet."""

import copy
import json
import pickle
import sys

import numpy as np
import pytest
from commandline import CliRunner

import costmodel
from costmodel import CostmodelError
from costmodel.cli import main
from costmodel.studies.grid.resumable import write
from costmodel.studies.grid.sweep import SweepPlan


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr("costmodel.studies.grid.sweep.CELLS", 8)
    monkeypatch.setattr("costmodel.studies.grid.sweep.ROWS", 2)


AXES = {"strategy": "full,last", "resolution": [64, 96, 128], "target": "none"}


@pytest.fixture(params=["csv", "parquet"])
def suffix(request):
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    return request.param


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


def test_an_interrupted_sweep_resumes_and_ends_equal(small_chunks, tmp_path, suffix):
    whole = tmp_path / f"whole.{suffix}"
    for plan in plans():
        list(write(plan, str(whole), force=True))
        chunks = len(plan.chunks())
        for stop in range(chunks + 1):
            part = tmp_path / f"{stop}.{suffix}"
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
        assert [path.name for path in tmp_path.iterdir()] == [f"whole.{suffix}"]


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
    document = json.loads(run("--batch", "1,2", "--format", "json").stdout)
    assert document["columns"] == costmodel.sweep("mobilenet_v2", batch="1,2").to_dict()
    assert "saved, MB" in run("--batch", "1,2").stdout
    long = run("--batch", "1..1000000").stdout.splitlines()
    assert long[-1] == "... 999,960 more; -o FILE writes all" and len(long) == 4 + 40 + 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--batch", "5..2"), "runs backwards"),
        (("--batch", ""), "batch is ''"),
        (("--shard", "3/2"), "shard is '3/2'"),
        (("--shard", "0/2"), "shard is '0/2'"),
        (("--shard", "x"), "shard is 'x'"),
        (("--batch", "1..100000", "--format", "markdown"), "too many for markdown"),
        (("-o", "grid.txt"), "ends in .csv or .parquet"),
        (("-o", "/nowhere/grid.csv"), "cannot be written"),
        (("--batch", "1,2", "--resolution", "32"), "batch 1, resolution 32"),
    ],
)
def test_bad_requests_exit_with_2_and_one_message(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.stderr and result.stdout == ""
    assert "Traceback" not in result.stderr and result.stderr.count("Error") == 1


# -- Parquet -----------------------------------------------------------------------------------------------------

MIXED = {"strategy": "full,mobiletl:2,norm=full", "batch": "1..5", "convention": "torch,ideal", "width": "0.35,1",
         "classes": [None, 10], "target": ["none", "cpu,threads=2"]}  # fmt: skip


def test_types_are_exact_and_a_missing_number_is_null(small_chunks, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    sweep = costmodel.sweep("mobilenet_v2", **MIXED)
    sweep.to_parquet(str(tmp_path / "whole.parquet"))
    list(write(SweepPlan("mobilenet_v2", MIXED), str(tmp_path / "chunks.parquet")))
    whole, chunks = (parquet.read_table(tmp_path / f"{name}.parquet") for name in ("whole", "chunks"))
    assert whole.equals(chunks) and whole.to_pydict() == sweep.to_dict()
    texts = ("strategy", "convention", "target", "certainty", "step_peak_certainty")
    kinds = {**dict.fromkeys(texts, "string"), "width": "double"}
    assert {field.name: str(field.type) for field in whole.schema} == {n: kinds.get(n, "int64") for n in sweep.columns}
    assert whole["peak_bytes"].null_count == whole.num_rows // 2  # ideal has none


@pytest.mark.parametrize("parts", [2, 50])  # with 50 some have no rows
def test_shards_of_parquet_concatenate_to_the_whole(small_chunks, tmp_path, parts):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    plan = plans()[1]
    tables = []
    for i in range(1, parts + 1):
        path = tmp_path / f"{i}.parquet"
        list(write(plan, str(path), (i, parts)))
        tables.append(parquet.read_table(path))
    sweep = costmodel.sweep("mobilenet_v2", **AXES, batch="1..10")
    assert pyarrow.concat_tables(tables).to_pydict() == sweep.to_dict()


def test_a_conversion_that_was_interrupted_is_made_anew(small_chunks, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    path, plan = tmp_path / "grid.parquet", plans()[0]

    def full(table, made, types):
        made.write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("costmodel.files.parquet.convert", full)
        with pytest.raises(CostmodelError, match="cannot be written: No space left on device"):
            list(write(plan, str(path)))
    assert not path.exists()
    assert list(write(plan, str(path))) == [plan.cells]  # nothing is priced again
    assert [found.name for found in tmp_path.iterdir()] == ["grid.parquet"]


def test_without_pyarrow_nothing_is_priced(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("costmodel.studies.grid.sweep.SweepPlan.__init__", None)  # would fail
    result = run("--batch", "1..8", "-o", str(tmp_path / "grid.parquet"))
    assert result.exit_code == 2 and "pip install pyarrow" in result.stderr and not list(tmp_path.iterdir())


def test_a_frontier_is_the_same_of_either_file(tmp_path, suffix):
    path = str(tmp_path / f"grid.{suffix}")
    axes = ("--strategy", "full,last,blocks:1..4", "--batch", "1,8")
    assert run(*axes, "-o", path).exit_code == 0
    sources = ([path], ["mobilenet_v2", *axes])
    found, wanted = (CliRunner().invoke(main, ["pareto", *source, "--format", "csv"]) for source in sources)
    assert found.exit_code == 0 and found.stdout == wanted.stdout


def test_a_parquet_file_that_is_none_is_a_bad_request(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "grid.parquet").write_text("no table")
    for name in ("grid", "nothing"):
        result = CliRunner().invoke(main, ["pareto", str(tmp_path / f"{name}.parquet")])
        assert result.exit_code == 2 and "cannot read" in result.stderr


def test_a_sweep_can_be_copied():
    grid = costmodel.sweep("mcunet_5fps", batch=[1, 2])
    for other in (copy.copy(grid), copy.deepcopy(grid), pickle.loads(pickle.dumps(grid))):
        assert other.to_dict() == grid.to_dict() and other.peak_bytes.tolist() == grid.peak_bytes.tolist()
    with pytest.raises(AttributeError, match="a sweep has no 'peak'; its columns are strategy, "):
        grid.peak  # noqa: B018


@pytest.mark.parametrize("given, message", [
    (("--batch", "1..600000,1..600000"), "has 1200000 values; allowed: at most 1048576"),
    (("--strategy", "blocks:1..60000000"), "allowed: at most 10,000 blocks"),
])  # fmt: skip
def test_axes_are_bounded_before_they_are_written_out(given, message):
    result = run(*given)
    assert result.exit_code == 2 and message in result.stderr
