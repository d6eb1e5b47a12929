"""Figures show everything in an estimate, a plan, a comparison, a fit or a grid; nothing covers anything else."""

from functools import cache

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from real import seldom

import costmodel
from costmodel.step.events import CATEGORIES
from costmodel.studies import fit
from costmodel.studies.pareto import USUAL, choose, with_step_flops
from costmodel.views.figures import (
    Sheet,
    categories,
    compare_figure,
    fit_figure,
    plan_figure,
    step_figure,
    sweep_figure,
)
from costmodel.views.figures.blocks_axis import places, stretches
from costmodel.views.figures.categories import LOOKS, RESIDENT
from costmodel.views.figures.labels import Label, place_labels
from costmodel.views.figures.pareto import pareto_figure
from costmodel.views.figures.plan import CHOSEN
from costmodel.views.figures.step import category_levels, columns
from costmodel.views.figures.style import DASHES, STYLES
from costmodel.views.figures.sweep import lines_of

STEP = {"batch": 2, "resolution": 64, "convention": "lean", "target": "none,threads=1"}
COLUMN = Sheet(3.33)


@cache
def estimated(strategy, **changes):
    return costmodel.estimate("mobilenet_v2", strategy, **{**STEP, **changes})


@cache
def planned():
    """Full fine-tuning, and a plan within two thirds of its memory."""
    full = estimated("full")
    return full, costmodel.plan("mobilenet_v2", full.peak_bytes * 2 // 3, **STEP)


def names_in_legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


# -- the step ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["full", "full,checkpoint=blocks"])
def test_the_layers_of_a_step_add_up_to_its_levels(strategy):
    estimate = estimated(strategy)
    series = category_levels(estimate)
    assert series.keys() <= CATEGORIES.keys() and {RESIDENT, *CATEGORIES} == LOOKS.keys()
    assert ("recomputed" in series) == ("checkpoint" in strategy)
    assert np.array_equal(sum(series.values()), estimate.levels)
    above = step_figure(estimate).axes[0]
    drawn = above.collections
    assert len(drawn) == 1 + len(series)  # each of them, on what is resident
    assert max(path.vertices[:, 1].max() for one in drawn for path in one.get_paths()) * 10**6 == pytest.approx(
        estimate.peak_bytes
    )


@pytest.mark.parametrize("strategy", ["full,checkpoint=blocks", "inference"])
def test_the_legend_names_what_can_be_seen(strategy):
    estimate = estimated(strategy)
    series = category_levels(estimate)
    high = {RESIDENT, *(name for name, levels in series.items() if levels.max() > 0.02 * estimate.peak_bytes)}
    named = set(names_in_legend(step_figure(estimate).axes[0]))
    assert {LOOKS[name].words for name in high} <= named <= {LOOKS[name].words for name in (RESIDENT, *series)}
    assert ("made again in backward" in named) == ("checkpoint" in strategy)


def test_a_category_without_a_look_is_an_error(monkeypatch):
    monkeypatch.setattr(categories, "LOOKS", {name: LOOKS[name] for name in LOOKS if name != "recomputed"})
    with pytest.raises(costmodel.CostmodelError, match="unknown category 'recomputed'"):
        step_figure(estimated("full,checkpoint=blocks"))


def test_neighbours_in_a_stack_differ_in_grey():
    """By a fifth of the way from black to white, or by a hatch."""
    looks = [look for name, look in LOOKS.items() if name != "loss"]  # which is too small to be seen
    grey = [np.dot(to_rgb(look.colour), (0.299, 0.587, 0.114)) for look in looks]
    for i, one in enumerate(looks):
        for k in range(i):
            assert abs(grey[i] - grey[k]) > 0.05 or one.hatch != looks[k].hatch
        assert i == 0 or abs(grey[i] - grey[i - 1]) > 0.2 or one.hatch != looks[i - 1].hatch


def test_lines_differ_without_colour():
    assert len({marker for _, marker in STYLES}) == len({colour for colour, _ in STYLES}) == 11
    assert len(set(DASHES)) == 4


def test_spikes_of_one_event_are_drawn_at_their_height():
    levels = np.zeros(5000, dtype=np.int64)
    levels[1234] = 7
    starts, highest = columns(levels, np.arange(5001.0), 300)
    assert len(starts) == 300 and levels[highest].max() == 7
    assert [array.tolist() for array in columns(levels[:40], np.arange(41.0), 300)] == [list(range(40))] * 2


def test_every_event_belongs_to_a_block_on_the_time_axis():
    estimate = estimated("full,checkpoint=blocks")
    found = stretches(estimate)
    assert [one.start for one in found[1:]] == [one.stop for one in found[:-1]]
    assert (found[0].start, found[-1].stop) == (0, len(estimate.timeline.events))
    blocks = [str(k) for k in range(1, 18)]
    ends = ["head", "classifier", "loss"]
    for phase, names in (("forward", ["stem", *blocks, *ends]), ("backward", [*ends[::-1], *blocks[::-1], "stem"])):
        assert [one.name for one in found if one.phase == phase] == names


def test_an_update_takes_little_of_the_time_axis():
    estimate = estimated("full", optimizer="adamw")
    phases = [event.phase for event in estimate.timeline.events]
    at, count = places(estimate), phases.count("update")
    assert phases[-count:] == ["update"] * count and count > 100
    assert (at[-1] - at[-count - 1]) / at[-1] < 0.1 and np.diff(at).min() > 0
    assert np.array_equal(places(estimated("full")), np.arange(len(estimated("full").levels) + 1))


@pytest.mark.parametrize("network, batch, sheet", [("mobilenet_v2", 2, COLUMN), ("mcunet_5fps", 1, Sheet())])
def test_blocks_too_narrow_for_a_name_are_named_together(network, batch, sheet):
    estimate = costmodel.estimate(network, **{**STEP, "batch": batch, "resolution": 96})
    axes = step_figure(estimate, sheet=sheet).axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names[0].startswith("stem") and names[-1].endswith("stem")
    firsts = [one.first for one in stretches(estimate)]
    for name, following in zip(names, names[1:]):
        last, first = name.split("\u2013")[-1], following.split("\u2013")[0]
        assert (last, first) in set(zip(firsts, firsts[1:])), "no block is left out"


# -- the others ----------------------------------------------------------------------------------------------------


def test_a_plan_shows_what_each_part_saves_and_does():
    full, plan = planned()
    above, below = plan_figure(plan, full).axes
    assert {choice for _, choice, _ in plan.choices} <= set(CHOSEN)
    bars = [bar for bar in below.patches if bar.get_y() == 0]
    own, outlines = bars[: len(full.blocks)], bars[len(full.blocks) :]
    for drawn, estimate in ((own, plan.estimate), (outlines, full)):
        saved = [round(bar.get_height() * 10**6) for bar in drawn]
        assert saved == [row["saved"] for row in estimate.blocks]
    tiles = [bar for bar in below.patches if bar.get_y() < 0]
    assert [bool(tile.get_hatch()) for tile in tiles] == [again for *_, again in plan.choices] + [False]
    tops = [line.get_ydata().max() * 10**6 for line in above.lines[:2]]
    assert [round(top) for top in tops] == [full.peak_bytes, plan.estimate.peak_bytes]


def test_bars_of_a_comparison_end_at_the_peaks():
    estimates = [estimated(strategy) for strategy in ("full", "bias", "full,checkpoint=blocks")]
    budget = estimates[2].peak_bytes
    axes = compare_figure(estimates, budget).axes[0]
    ends = [max(bar.get_x() + bar.get_width() for bar in axes.patches if round(bar.get_y()) == k) for k in range(3)]
    assert [round(end * 10**6) for end in ends] == [estimate.peak_bytes for estimate in estimates]
    fits = [text.get_text().endswith("fits") for text in axes.texts]
    assert fits == [estimate.peak_bytes <= budget for estimate in estimates] and {*fits} == {True, False}
    assert [text.get_fontweight() == "bold" for text in axes.texts] == fits


@pytest.mark.parametrize("draw", [step_figure, lambda estimate: compare_figure([estimate])])
def test_a_convention_without_a_timeline_is_not_drawn(draw):
    with pytest.raises(costmodel.CostmodelError, match="'ideal' has no timeline of a step; allowed: torch, lean"):
        draw(costmodel.estimate("mcunet_5fps", convention="ideal"))


@pytest.mark.parametrize("axis", ["batch", "resolution", "blocks"])
def test_a_fit_shows_the_answer_under_the_budget(axis):
    network = costmodel.load("mcunet_5fps")
    request = {"strategy": "mobiletl:3", "batch": 2, "convention": "lean", "target": "none"}
    budget = costmodel.estimate(network, "mobiletl:6", batch=4, convention="lean", target="none").peak_bytes
    found = fit.largest(network, axis, budget, **request)
    peaks = fit.curve(network, axis, found.value, **request)
    assert dict(peaks)[found.value] == found.estimate.peak_bytes
    axes = fit_figure(found, axis, peaks, budget).axes[0]
    curve, line, answer = axes.lines
    assert [round(peak * 10**6) for peak in curve.get_ydata()] == [peak for _, peak in peaks]
    assert round(line.get_ydata()[0] * 10**6) == budget
    assert answer.get_xydata().tolist() == [[found.value, found.estimate.peak_bytes / 10**6]]


def test_a_fit_of_nothing_says_so():
    network = costmodel.load("mcunet_5fps")
    found = fit.largest(network, "batch", 4 * 10**6, "full")
    figure = fit_figure(found, "batch", fit.curve(network, "batch", None, "full"), 4 * 10**6)
    assert found.value is None and "not even the least batch fits" in figure.axes[0].texts[0].get_text()


@pytest.mark.parametrize(
    "axes, x, lines",
    [
        ({"strategy": "full,bias", "batch": "1..40", "convention": ["torch", "lean"]}, "batch", 4),
        ({"strategy": "full", "batch": "1..4", "resolution": "64..160:16"}, "resolution", 4),
        ({"strategy": "full,mobiletl:1..9", "batch": "1..16"}, "batch", 10),
        ({"strategy": "blocks:1..4,mobiletl:1..4", "convention": ["torch", "lean"]}, "trained blocks K", 4),
    ],
    ids=str,
)
def test_lines_of_a_sweep_are_the_grid(axes, x, lines):
    grid = costmodel.sweep("mcunet_5fps", **{"target": "none", **axes})
    figure = sweep_figure(grid.to_dict(), grid.fixed)
    drawn = figure.axes[0]
    assert (drawn.get_xlabel(), len(drawn.lines)) == (x, lines)
    unit = 10**9 if drawn.get_ylabel().endswith("GB") else 10**6
    shown = sorted(round(y * unit) for line in drawn.lines for y in line.get_ydata())
    assert shown == sorted(grid.peak_bytes.tolist())
    looks = {(line.get_color(), str(line._dash_pattern)) for line in drawn.lines}
    assert len(looks) == lines


@pytest.mark.parametrize(
    "axes, message",
    [
        ({"strategy": ["full", "bias"]}, "in which no number varies"),
        ({"batch": range(10**6), "strategy": ["full"] * 2}, "2,000,000 cells"),
        ({"batch": range(9), "resolution": range(8), "width": range(5)}, "5 kinds of dashes"),
    ],
    ids=str,
)
def test_a_sweep_that_no_figure_shows(axes, message):
    with pytest.raises(costmodel.CostmodelError, match=message):
        lines_of(axes)


# -- all of them ---------------------------------------------------------------------------------------------------


@cache
def frontier_of(*conventions):
    strategies = "full,last,norm+last,bias,blocks:1..14,mobiletl:1..14"
    grid = costmodel.sweep("mcunet_5fps", strategy=strategies, convention=list(conventions))
    table = with_step_flops(grid.to_dict())
    return table, choose(table, USUAL).tolist()


def drawn(name, sheet):
    """A figure of each kind, with a budget in bytes."""
    if name == "step":
        return step_figure(estimated("bias,checkpoint=blocks"), 8_000_000, sheet), 8_000_000
    if name == "plan":
        full, plan = planned()
        return plan_figure(plan, full, sheet), plan.budget_bytes
    if name == "compare":
        estimates = [estimated(strategy) for strategy in ("full", "bias", "blocks:5", "full,checkpoint=blocks")]
        return compare_figure(estimates, 30_000_000, sheet), 30_000_000
    if name == "fit":
        network = costmodel.load("mcunet_5fps")
        found = fit.largest(network, "batch", 64_000_000, "full")
        peaks = fit.curve(network, "batch", found.value, "full")
        return fit_figure(found, "batch", peaks, 64_000_000, sheet), 64_000_000
    if name == "sweep":
        grid = costmodel.sweep("mcunet_5fps", "full,bias,mobiletl:3", "1..64", convention=["torch", "lean"])
        return sweep_figure(grid.to_dict(), grid.fixed, 64_000_000, sheet), 64_000_000
    table, on = frontier_of("torch", "lean")
    return pareto_figure(table, on, USUAL, "a title", 30_000_000, sheet), 30_000_000


def extents(figure):
    """The texts of a figure that can be seen, and their boxes."""
    renderer = figure.canvas.get_renderer()
    unseen = set()  # labels of ticks beyond the ends of an axis
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                unseen |= {tick.label1, tick.label2}
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    texts = [text for text in texts if text not in unseen]
    return texts, [text.get_window_extent(renderer).extents for text in texts]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ["step", "plan", "compare", "fit", "sweep", "pareto"])
@pytest.mark.parametrize("sheet", [COLUMN, *seldom((Sheet(),), (Sheet(7),), (Sheet(3.3, 2.4),))], ids=str)
def test_nothing_is_cut_off_or_covered(name, sheet):
    if name == "pareto" and sheet.height:
        with pytest.raises(costmodel.CostmodelError, match="3.30x2.40 inches has no room for its axes"):
            drawn(name, sheet)
        return
    figure, budget = drawn(name, sheet)
    figure.draw_without_rendering()
    texts, boxes = extents(figure)
    assert len(texts) > 8
    for i, (text, (left, bottom, right, top)) in enumerate(zip(texts, boxes)):
        assert text.get_fontsize() >= 5, text
        assert left >= 0 and bottom >= 0 and right <= figure.bbox.width and top <= figure.bbox.height, text
        for k in range(i):
            a, b, c, d = boxes[k]
            slanted = text.get_rotation() % 90 or texts[k].get_rotation() % 90
            assert slanted or right <= a or left >= c or top <= b or bottom >= d, (text, texts[k])
    lines = [line for axes in figure.axes for line in axes.lines if line.get_label().startswith("budget, ")]
    assert len(lines) == (2 if name == "pareto" else name != "plan" or len(figure.axes) - 1)
    for line in lines:
        upright = name in ("compare", "pareto")
        (at, _) = line.get_xdata() if upright else line.get_ydata()
        low, high = line.axes.get_xlim() if upright else line.axes.get_ylim()
        scale = 10**9 if "GB" in line.axes.get_ylabel() + line.axes.get_xlabel() else 10**6
        assert round(at * scale) == budget and low < at < high


def test_labels_without_a_place_are_left_out(capsys):
    with Sheet(2, 2).open((2, 2), 1) as figure:
        axes = figure.subplots()
        points = np.full((30, 2), 0.5)
        axes.scatter(*points.T)
        labels = [Label(k, f"a long name of the point {k}", "black") for k in range(30)]
        place_labels(axes, points, np.full(30, 2.0), [], labels)
        assert len([text for text in axes.texts if text.get_text()]) < 30
        place_labels(axes, points, np.full(30, 500.0), [], labels)
    assert capsys.readouterr().out == ""


def test_conventions_are_panels_with_the_same_scales():
    table, on = frontier_of("torch", "lean")
    left, right = pareto_figure(table, on, USUAL, "a title").axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["convention torch", "convention lean"]
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    for axes, convention in ((left, "torch"), (right, "lean")):
        points = np.concatenate([one.get_offsets() for one in axes.collections])
        rows = [k for k, value in enumerate(table["convention"]) if value == convention]
        assert sorted(np.round(points[:, 0] * 10**6)) == sorted(table["peak_bytes"][k] for k in rows)
    low, high = left.get_xlim()
    assert low > 0.7 * min(table["peak_bytes"]) / 10**6 and high < 1.4 * max(table["peak_bytes"]) / 10**6
