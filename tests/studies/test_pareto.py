"""The frontier, against brute force; its table, files and figure."""

import csv
import io
import json

import numpy as np
import pytest
from commandline import CliRunner
from real import seldom

import costmodel
from costmodel import CostmodelError
from costmodel.cli import main
from costmodel.studies.frontier import frontier, undominated
from costmodel.studies.pareto import Objective, choose


def brute(values, less):
    """Each point against each other one."""
    points = np.stack([v if small else -v for v, small in zip(values, less)], axis=1)
    dominates = np.all(points[:, None] <= points[None], axis=2) & np.any(points[:, None] < points[None], axis=2)
    return ~dominates.any(axis=0)


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("spread", [1, 3, 10, 1000])
def test_the_frontier_is_that_of_brute_force(objectives, spread):
    rng = np.random.default_rng(spread)
    for count in (1, 2, 5, 30, 300):
        for _ in range(20):
            values = [rng.integers(0, spread, count) for _ in range(objectives)]  # few values: many ties
            less = rng.integers(0, 2, objectives).astype(bool).tolist()
            assert np.array_equal(frontier(values, less), brute(values, less))


def test_large_integers_and_floats_are_compared_as_they_are():
    big = np.array([2**60, 2**60 + 1, 2**60 + 2])  # equal as floats
    assert frontier([big, np.array([0.5, 0.25, 0.75])], [True, True]).tolist() == [True, True, False]
    assert frontier([big, big], [True, True]).tolist() == [True, False, False]
    assert frontier([big, -big], [True, True]).tolist() == [True, True, True]


def test_equal_points_are_on_the_frontier_together():
    ties = [np.array([1, 1, 2, 2]), np.array([3, 3, 3, 3])]
    assert frontier(ties, [True, True]).tolist() == [True, True, False, False]
    assert frontier([np.zeros(0), np.zeros(0)], [True, True]).tolist() == []


@pytest.mark.parametrize("count", [0, 1, 4])
def test_other_numbers_of_objectives_are_refused(count):
    with pytest.raises(CostmodelError, match="two or three"):
        frontier([np.arange(3)] * count, [True] * count)


def test_two_objectives_take_n_log_n():
    rng = np.random.default_rng(0)
    x = rng.permutation(10**6)
    assert frontier([x, -x], [True, True]).all()  # every point: quadratic would never end
    assert frontier([x, x], [True, True]).sum() == 1


def test_a_column_with_a_blank_cannot_be_an_objective():
    sweep = costmodel.sweep("mobilenet_v2", convention=["torch", "ideal"])
    with pytest.raises(CostmodelError, match="'peak_bytes' is no number at full, 8, 224"):
        choose(sweep.to_dict(), [Objective("peak_bytes", True), Objective("saved_bytes", True)])


# -- the command -------------------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(main, ["pareto", *arguments])


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_all_strategies_of_a_network():
    result = run("mobilenet_v2", "--format", "csv")
    assert result.exit_code == 0
    rows = rows_of(result.stdout)
    assert {"full", "last", "bias", "blocks:17", "mobiletl:1", "tinytl-l"} <= {row["strategy"] for row in rows}
    objectives = ("peak_bytes", "step_flops", "trainable_parameters")
    values = [np.array([int(row[name]) for row in rows]) for name in objectives]
    assert [row["frontier"] == "1" for row in rows] == brute(values, [True, True, False]).tolist()
    assert values[1].tolist() == [int(row["forward_flops"]) + int(row["backward_flops"]) for row in rows]


@pytest.mark.parametrize("trains", ["trainable_parameters", "trained_blocks"])
def test_the_frontier_without_accuracy(trains):
    """Peak memory against the step's FLOPs against the number of trained parameters."""
    objectives = ["--minimise", "peak_bytes", "--minimise", "step_flops", "--maximise", trains]
    rows = rows_of(run("mobilenet_v2", *objectives, "--format", "csv").stdout)
    values = [np.array([int(row[name]) for row in rows]) for name in ("peak_bytes", "step_flops", trains)]
    assert [row["frontier"] == "1" for row in rows] == brute(values, [True, True, False]).tolist()
    blocks = {row["strategy"]: int(row["trained_blocks"]) for row in rows}
    assert (blocks["last"], blocks["blocks:5"], blocks["mobiletl:1"], blocks["full"]) == (0, 5, 1, 17)
    assert trains in run("mobilenet_v2", *objectives).stdout


def test_a_picture_of_plans(tmp_path):
    """Their letters are no K."""
    plans = ",".join(f"plan:{'f' * (18 - k)}{letter * k}t" for letter in "tM" for k in (2, 3))
    path = tmp_path / "plans.svg"
    result = run(
        "mobilenet_v2",
        "--strategy",
        f"full,{plans}",
        "--maximise",
        "trained_blocks",
        "--minimise",
        "peak_bytes",
        "--figure",
        str(path),
    )
    assert result.exit_code == 0 and path.exists()


def test_json_says_what_the_objectives_were():
    result = run(
        "mobilenet_v2",
        "--strategy",
        "full,blocks:1..3",
        "--minimise",
        "saved_bytes",
        "--maximise",
        "trainable_parameters",
        "--format",
        "json",
    )
    document = json.loads(result.stdout)
    assert document["objectives"] == [
        {"column": "saved_bytes", "better": "less"},
        {"column": "trainable_parameters", "better": "more"},
    ]
    assert [point["strategy"] for point in document["points"]] == ["full", "blocks:1", "blocks:2", "blocks:3"]
    assert all(point["frontier"] for point in document["points"])


def test_a_written_grid_gives_what_the_network_gives(tmp_path):
    parts = [str(tmp_path / f"{i}.csv") for i in (1, 2)]
    axes = ("--strategy", "full,last,blocks:1..4", "--batch", "1,8")
    for i, part in enumerate(parts, 1):
        arguments = ["sweep", "mobilenet_v2", *axes, "--shard", f"{i}/2", "-o", part]
        assert CliRunner().invoke(main, arguments).exit_code == 0
    assert run(*parts, "--format", "csv").stdout == run("mobilenet_v2", *axes, "--format", "csv").stdout


@pytest.fixture
def accuracies(tmp_path):
    def write(text):
        path = tmp_path / "accuracy.csv"
        path.write_text(text)
        return str(path)

    return write


AXES = ("mobilenet_v2", "--strategy", "last,blocks:1..2")


def test_accuracy_is_joined_by_strategy(accuracies):
    path = accuracies("strategy,accuracy\nblocks:2,0.71\nlast,0.65\nblocks:1,0.6\n")
    rows = rows_of(run(*AXES, "--accuracy", path, "--format", "csv").stdout)
    assert [(row["strategy"], float(row["accuracy"]), row["frontier"]) for row in rows] == [
        ("last", 0.65, "0"),
        ("blocks:1", 0.6, "0"),
        ("blocks:2", 0.71, "1"),
    ]
    assert len({row["peak_bytes"] for row in rows[1:]}) == 1  # so that blocks:2 beats both others


@pytest.mark.parametrize(
    "text, message",
    [
        ("strategy,accuracy\nlast,0.6\nblocks:1,0.7\n", "lacks the accuracy of blocks:2"),
        ("strategy,accuracy\nlast,0.6\nblocks:1,0.7\nblocks:2,0.7\nblock:2,0.7\n", "did you mean 'blocks:2'"),
        ("strategy,accuracy\nlast,0.6\nblocks:1,0.7\nblocks:2,0.7\nlast,0.5\n", "'last' twice"),
        ("strategy,accuracy\nlast,0.6\nblocks:1,high\nblocks:2,0.7\n", "the accuracy of 'last' is '0.6'"),
        ("strategy,accuracy\nlast,0.6\nblocks:1,\nblocks:2,0.7\n", "the accuracy of 'blocks:1' is None"),
        ("strategy,accuracy\nlast,nan\nblocks:1,1\nblocks:2,0.7\n", "the accuracy of 'last' is nan"),
        ("strategy,top1\nlast,0.6\n", "has the columns strategy, top1"),
        ("strategy,accuracy\nlast\n", "row 2: 1 cells under 2"),
        ("strategy,accuracy\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_a_bad_accuracy_file_says_what_is_wrong(accuracies, text, message):
    result = run(*AXES, "--accuracy", accuracies(text))
    assert result.exit_code == 2 and message in result.stderr and result.stdout == ""


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((*AXES, "--accuracy", "/nowhere.csv"), "cannot read"),
        ((*AXES, "--minimise", "peak_bytes"), "two or three different ones"),
        ((*AXES, "--minimise", "peak_bytes", "--maximise", "peak_bytes"), "two or three different ones"),
        ((*AXES, "--minimise", "peak_byte", "--maximise", "saved_bytes"), "did you mean 'peak_bytes'"),
        ((*AXES, "--minimise", "strategy", "--maximise", "saved_bytes"), "'strategy' is 'last'"),
        ((*AXES, "--figure", "picture.gif"), "found the type '.gif'"),
        (("/nowhere/grid.csv",), "cannot read"),
        (("mobilenet_v2", "mnasnet_b1"), "2 networks"),
        (("grid.csv", "--batch", "3"), "--batch beside a table"),
        (("mobilenet_v9",), "unknown network"),
    ],
)
def test_bad_requests_exit_with_2_and_one_message(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.stderr and result.stdout == ""


# -- the picture -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", *seldom("svg", "pdf")])
def test_a_figure_with_its_data_beside_it(tmp_path, suffix):
    path = tmp_path / f"frontier.{suffix}"
    assert run("mobilenet_v2", "--figure", str(path)).exit_code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frontier.csv", "frontier.json", f"frontier.{suffix}"]
    assert len(path.read_bytes()) > 5000
    rows = rows_of((tmp_path / "frontier.csv").read_text())
    points = json.loads((tmp_path / "frontier.json").read_text())["points"]
    assert [row["frontier"] == "1" for row in rows] == [point["frontier"] for point in points]
    before = path.read_bytes()
    again = run("mobilenet_v2", "--strategy", "full,last", "--figure", str(path))
    assert again.exit_code == 2 and "--force" in again.stderr and path.read_bytes() == before
    assert run("mobilenet_v2", "--strategy", "full,last", "--figure", str(path), "--force").exit_code == 0


@pytest.mark.parametrize(
    "axes",
    [{"batch": "1..8"}, {"strategy": "full"}, *seldom({}, {"convention": ["torch", "lean"]}, {"batch": "1..40"})],
    ids=str,
)
def test_labels_cover_neither_each_other_nor_bubbles(axes):
    from costmodel.studies.pareto import USUAL, with_step_flops
    from costmodel.views.figures.pareto import pareto_figure

    strategies = "full,last,norm+last,bias,blocks:1..17,mobiletl:1..17"
    sweep = costmodel.sweep("mobilenet_v2", **{"strategy": strategies, **axes})
    columns = with_step_flops(sweep.to_dict())
    figure = pareto_figure(columns, choose(columns, USUAL).tolist(), USUAL, "a title")
    axes = figure.axes[0]
    figure.draw_without_rendering()
    renderer, point = figure.canvas.get_renderer(), figure.dpi / 72
    texts = [text for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent(renderer).extents for text in texts]
    assert texts
    for drawn in axes.collections:
        centres = drawn.get_offset_transform().transform(drawn.get_offsets())
        radii = np.broadcast_to(np.sqrt(drawn.get_sizes())[:, None] / 2 * point, (len(centres), 1))
        boxes += [*np.concatenate([centres - radii, centres + radii], axis=1)]
    inside = axes.get_window_extent(renderer).extents
    for i in range(len(texts)):
        left, bottom, right, top = boxes[i]
        assert left >= inside[0] and bottom >= inside[1] and right <= inside[2] and top <= inside[3]
        for j, (a, b, c, d) in enumerate(boxes):
            assert i == j or right <= a or left >= c or top <= b or bottom >= d


@pytest.mark.one_in(3)
@pytest.mark.parametrize("columns", [1, 2, 3, 5])
@pytest.mark.parametrize("falling", [False, True], ids=["any", "a column that falls as the first rises"])
def test_points_that_no_other_one_beats_in_any_number_of_columns(columns, falling):
    draw = np.random.default_rng(columns)
    for size in (1, 2, 30, 700):
        points = draw.integers(0, 1 + size // columns, (size, columns))
        if falling:
            points[:, -1] = -2 * points[:, 0] + draw.integers(0, 2, size)
        alive = [not any((q <= p).all() and (q < p).any() for q in points) for p in points]
        assert {tuple(points[i]) for i in undominated(points)} == {tuple(p) for p, keep in zip(points, alive) if keep}
        assert len({tuple(points[i]) for i in undominated(points)}) == len(undominated(points))


def test_a_figure_does_not_take_the_place_of_what_it_is_made_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.csv").write_text("strategy,peak_bytes,step_flops,trainable_parameters\nfull,1,2,3\n")
    told = CliRunner().invoke(main, ["pareto", "grid.csv", "--figure", "grid.png", "--force"])
    assert (
        told.exit_code == 2
        and "'grid.csv', beside the figure, is read; allowed: a figure of another name" in told.stderr
    )
    assert (tmp_path / "grid.csv").read_text().startswith("strategy")


@pytest.mark.parametrize(
    "cell, found", [("99999999999999999999", "99999999999999999999"), ("nan", "nan"), ("", "no number")]
)
def test_objectives_are_numbers_of_64_bits(cell, found, tmp_path):
    (tmp_path / "a.csv").write_text(f"peak_bytes,step_flops,trainable_parameters\n1,2,3\n{cell},1,1\n")
    told = CliRunner().invoke(main, ["pareto", str(tmp_path / "a.csv")])
    assert told.exit_code == 2 and f"'peak_bytes' is {found} at row 2; allowed: numbers of 64 bits" in told.stderr
