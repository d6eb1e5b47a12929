"""Figures show everything in an estimate or a plan."""

import numpy as np
import pytest
from commandline import CliRunner

import costmodel
from costmodel.cli import main
from costmodel.step.events import CATEGORIES
from costmodel.views.figures.plan import CHOSEN, plan_figure
from costmodel.views.figures.step import COLOURS, NAMES, RESIDENT, category_levels, step_figure

STEP = {"batch": 2, "resolution": 64, "convention": "lean", "target": "none,threads=1"}


@pytest.mark.parametrize("strategy", ["full", "full,checkpoint=blocks"])
def test_the_layers_of_a_step_add_up_to_its_levels(strategy):
    estimate = costmodel.estimate("mobilenet_v2", strategy, **STEP)
    series = category_levels(estimate)
    assert series.keys() <= CATEGORIES.keys() and {RESIDENT, *CATEGORIES} == COLOURS.keys()
    assert ("recomputed" in series) == ("checkpoint" in strategy)
    assert np.array_equal(sum(series.values()), estimate.levels)
    above = step_figure(estimate).axes[0]
    assert len(above.collections) == 1 + len(series)  # each of them, on what is resident
    labels = {text.get_text() for text in above.get_legend().get_texts()}
    assert labels == {NAMES[name] for name in ("resident", *series) if name in NAMES}


def test_a_category_without_a_colour_is_an_error(monkeypatch):
    monkeypatch.delitem(COLOURS, "recomputed")
    with pytest.raises(costmodel.CostmodelError, match="unknown category 'recomputed'"):
        step_figure(costmodel.estimate("mobilenet_v2", "full,checkpoint=blocks", **STEP))


def test_a_plan_shows_what_each_part_saves_and_does():
    full = costmodel.estimate("mobilenet_v2", "full", **STEP)
    plan = costmodel.plan("mobilenet_v2", full.peak_bytes * 2 // 3, **STEP)
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
    assert [round(top) for top in tops] == [plan.estimate.peak_bytes, full.peak_bytes]


def test_the_command_draws_a_plan(tmp_path):
    path = tmp_path / "plan.png"
    arguments = ["plan", "mcunet_5fps", "--budget", "40MB", "--convention", "lean", "--figure", str(path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and path.read_bytes().startswith(b"\x89PNG")
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2 and "exists; allowed: another name, or --force" in again.stderr
    wrong = CliRunner().invoke(main, [*arguments[:-1], "plan.gif"])
    assert wrong.exit_code == 2 and "found the type '.gif'" in wrong.stderr
