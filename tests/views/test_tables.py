"""What views make of results: tables, lines and documents, with the numbers of one step."""

import pytest

import costmodel
from costmodel.pytorch.validate import Check
from costmodel.step.optimizer import OPTIMIZERS
from costmodel.studies.papers import claims, compute
from costmodel.studies.pareto import Objective
from costmodel.views import compare, fit, listing, papers, pareto, perfetto, plan, report, sweep, validate
from costmodel.views.shared import shared
from costmodel.views.table import csv_text


@pytest.fixture(scope="module")
def estimate():
    return costmodel.estimate("mobilenet_v2", "last", batch=2, resolution=65, target="none")


def shown(table):
    """A table's rows as people read them."""
    return [["" if value is None else column.show(value) for column, value in zip(table.columns, row) if column.head]
            for row in table.rows]  # fmt: skip


def test_strategies_side_by_side(estimate):
    table = compare.compare([estimate], 10**8)
    assert table.title == "mobilenet_v2, batch 2 of 3x65x65, counted by torch"
    assert shown(table) == [["last", "1,281,000", "0.0183", "19.40", "159.44 M", "5.12 M", "yes"]]
    assert [c.head for c in compare.compare([estimate], None).columns if c.head][-2:] == [
        "forward FLOPs", "backward FLOPs"]  # fmt: skip


def test_whether_a_step_fits(estimate):
    step = "mobilenet_v2, last, batch 2 of 3x65x65, on tensors alone, on no device"
    most = "yes: batch 2 is the most that fits. The peak of 19.40 MB leaves 80.60 MB of 100.00 MB."
    assert fit.fit_lines(estimate, 10**8, "batch", 2) == [most, step]
    least = "no: the peak of 19.40 MB exceeds 1.00 MB by 18.40 MB. Not even the least batch fits."
    least += " The parameters and buffers alone take 14.16 MB."
    assert fit.fit_lines(estimate, 10**6, "batch", None) == [least, step]


def test_a_report(estimate):
    memory = report.memory_table([estimate])
    assert memory.title == report.request_title(estimate)
    assert shown(memory) == [
        ["parameters", "14.02"],
        ["buffers (running statistics)", "0.137"],
        ["images and targets", "0.101"],  # 2*3*65*65*4 + 2*8 = 101,416 bytes
        ["gradients of parameters", "5.12"],
        ["saved for the backward pass", "0.0102"],  # the classifier's input: 2*1280*4
        ["gradients of activations", "0.00800"],
        ["the loss and its gradient", "0.000008"],
        ["peak", "19.40"],
    ]
    assert sum(row[1] for row in memory.rows[:-1]) == memory.rows[-1][1] == estimate.peak_bytes
    assert [row[1] for row in shown(report.totals_table([estimate]))] == ["0.0183", "5.12", "5.14"]
    reached = "The peak of 19.40 MB (torch) is reached in the backward pass at classifier.1."
    assert report.peak_note(estimate) == [reached]
    assert report.budget_notes([estimate], 10**8) == ["Into 100.00 MB, torch: fits, 80.60 MB are left."]
    assert report.beside(costmodel.estimate("mcunet_5fps")) == ["lean", "ideal"]
    assert report.beside(costmodel.estimate("mcunet_5fps", "backrazor", convention="lean")) == ["ideal"]


def test_a_timeline_for_perfetto(estimate):
    document = perfetto.trace_events(estimate)
    counters = [entry for entry in document["traceEvents"] if entry["ph"] == "C"]
    assert [sum(entry["args"].values()) for entry in counters] == estimate.levels.tolist()
    slices = [entry for entry in document["traceEvents"] if entry["ph"] == "X"]
    assert sum(entry["dur"] for entry in slices) == len(counters)
    assert {entry["cat"] for entry in slices} == {"forward", "backward"}


def test_listings():
    assert [row[0] for row in listing.optimizer_table().rows] == [*OPTIMIZERS]
    assert listing.convention_table().rows[0] == ["torch", "what stock PyTorch really keeps and allocates", True]
    assert listing.networks().rows[0] == ["efficientnet_b0", 224, 16, 5_288_548, "torchvision.models.efficientnet_b0"]


def test_a_frontier():
    columns = {"strategy": ["full", "last", "bias"], "peak_bytes": [3000, 1000, 2000], "trained_blocks": [17, 0, 17]}
    objectives = [Objective("peak_bytes", True), Objective("trained_blocks", False)]
    (table,), notes = pareto.frontier_table("of", columns, [False, True, True], objectives)
    assert shown(table) == [["last", "1.00", "0"], ["bias", "2.00", "17"]] and table.columns[1].head == "peak, kB"
    assert notes == ["2 of 3 are on the frontier: least peak_bytes, most trained_blocks."]
    lines = "strategy,peak_bytes,trained_blocks,frontier\nfull,3000,17,0\nlast,1000,0,1\nbias,2000,17,1\n"
    assert csv_text([pareto.all_rows(columns, [False, True, True])]) + "\n" == lines
    document = pareto.document("of", columns, [False, True, True], objectives)
    assert document["points"][2] == {"strategy": "bias", "peak_bytes": 2000, "trained_blocks": 17, "frontier": True}


def test_a_sweep():
    columns = {"batch": [1, 2], "peak_bytes": [1500, 70_000_000], "forward_flops": [1, 2_000_000]}
    table = sweep.table(columns, {"network": "net", "strategy": "full", "width": None})
    assert table.title == "net, strategy full"
    assert [column.head for column in table.columns] == ["batch", "peak, MB", "forward FLOPs"]
    assert shown(table) == [["1", "0.00150", "1"], ["2", "70.00", "2.00 M"]]


def test_predictions_beside_measurements():
    checks = [
        Check("saved_bytes", 100, 100), Check("step_peak_bytes", 1010, 1000, 0.001), Check("tensor_peak_bytes", 5, 5),
        Check("forward_flops", 7, 7), Check("backward_flops", 9, 8),
    ]  # fmt: skip
    (row,) = validate.validation([("net", "full", 2, 65, checks)]).rows
    assert row[:10] == ["net", "full", 2, 65, 100, 100, 0, 1010, 1000, 0.01]
    assert row[10].startswith("wrong: step_peak_bytes")
    (row,) = validate.summary_of([("net", "full", 2, 65, checks)]).rows
    assert row[:6] == ["net", 1, 0, 1, 0, 0.01]


def test_a_published_number_beside_the_computed_one():
    result = compute(next(claim for claim in claims() if not claim.pending))
    table, notes = papers.papers([result])
    assert table.rows[0][0] == result.claim.paper and table.rows[0][-1] == "holds" and len(notes) == 1
    entry = papers.entry(result)
    assert entry["holds"] is True and entry["computed_in_unit"] == result.in_unit


def test_a_plan():
    found = costmodel.plan("mobilenet_v2", 20_000_000, batch=2, resolution=65, target="none")
    table = plan.parts_table(found)
    parts = plan.chosen_parts(found)
    assert [part["name"] for part, _, _ in parts] == [part["name"] for part in found.estimate.blocks]
    assert sum(part["trainable_parameters"] for part, _, _ in parts) == found.estimate.trainable_parameters
    assert len(table.rows) >= 19 and plan.notes(found, "kept.yaml")


def test_the_values_that_all_rows_share_in_words():
    values = {"target": "none", "resolution": 65, "batch": 8, "network": "net", "width": 2.0, "convention": None}
    assert shared(values) == "net, batch 8, 65x65, tensors alone, on no device"
