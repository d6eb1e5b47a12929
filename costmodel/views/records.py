"""The cost of a step, and of its parts, as rows for programs, under the names of `schema.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph.inputs import shown_resolution
from ..step.estimate import Estimate
from ..step.events import CATEGORIES
from ..studies.grid.columns import COLUMNS
from ..studies.needs import Process, held
from .table import DRAWN, Column, Table, hidden

#: Entries of an estimate's `memory_bytes`, by the names of their columns, beside those that sweeps have.
_MEMORY = {f"{name}_bytes": name for name in ("parameters", "buffers", "gradients", "optimizer", "input")}
_FLOPS = (
    "backward_input", "backward_weight", "recomputed", "elementwise_forward", "elementwise_backward",
    "elementwise_recomputed",
)  # fmt: skip
#: Names of the bytes at the peak, by category.
AT_PEAK = {
    category: f"at_peak_{'activation_gradients' if category == 'gradients of activations' else category}_bytes"
    for category in CATEGORIES
}


def step_record(estimate: Estimate) -> dict[str, Any]:
    """The request and the whole cost of a step. None is what the convention has no number for."""
    request, memory, flops = estimate.request, estimate.memory_bytes, estimate.flops
    runs = estimate.memory is not None
    return {
        "network": estimate.network,
        "strategy": estimate.strategy,
        "batch": estimate.batch,
        "resolution": shown_resolution(request.resolution),
        "convention": estimate.convention,
        "optimizer": request.optimizer.name,
        "target": request.target.text,
        "dtype": request.dtype.name,
        "amp": request.amp.name if request.amp else None,
        "accumulate": request.accumulate,
        "loss": str(request.loss),
        **{name: cost.value(estimate) for name, cost in COLUMNS.items()},
        "certainty": estimate.certainty.saved,
        "step_peak_certainty": estimate.certainty.step_peak if runs else None,
        "step_flops": flops["total"],
        "parameters": estimate.parameters,
        **{name: memory[key] for name, key in _MEMORY.items()},
        "resident_bytes": estimate.resident_bytes if runs else None,
        **{name: estimate.at_peak.get(key, 0) if runs else None for key, name in AT_PEAK.items()},
        "peak_phase": estimate.peak_at["phase"] if runs else None,
        "peak_node": estimate.peak_at["node"] if runs else None,
        **{f"{name}_flops": flops[name] for name in _FLOPS},
    }


def part_record(part: dict[str, Any]) -> dict[str, Any]:
    """The cost of a part of a step: an entry of an estimate's `blocks` or `layers`."""
    apart = ("name", "saved", "output_shape", "op")
    forward, backward = part["forward_flops"], part["backward_flops"]
    return {
        "part": part["name"],
        **({"op": part["op"]} if "op" in part else {}),
        "output_shape": part["output_shape"],
        "saved_bytes": part["saved"],
        "step_flops": None if None in (forward, backward) else forward + backward,
        **{key: value for key, value in part.items() if key not in apart},
        **({"made_again_of": ", ".join(part["made_again_of"])} if "made_again_of" in part else {}),
    }


def within(estimate: Estimate, budget: int | None, around: Process | None = None) -> dict[str, Any]:
    """Whether a step peaks within a budget in bytes, and what is left; nothing without a budget.

    around: the process that must be within it instead.
    """
    if budget is None:
        return {}
    peak = held(estimate, around)
    there = peak is not None
    return {
        "budget_bytes": budget,
        "fits": peak <= budget if there else None,
        "headroom_bytes": budget - peak if there else None,
    }


def table_of(records: Sequence[dict[str, Any]], seen: Sequence[Column] = (), title: str = "", name: str = "") -> Table:
    """A table of records with the same keys. seen: the columns for people; the other keys are for programs.

    What is drawn stands in the records under the head of its column.
    """
    shown = {column.key for column in seen}
    columns = [*seen, *(hidden(key) for key in records[0] if key not in shown and key != DRAWN)]
    rows = [[record[DRAWN if column.key is None else column.key] for column in columns] for record in records]
    return Table(title, columns, rows, name)
