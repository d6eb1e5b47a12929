"""A step on a device: where its time goes, and what its time and its energy rest on."""

from __future__ import annotations

from ..sizes.units import show_joules, show_seconds, show_size
from ..step.estimate import Estimate
from ..step.seconds import StepTime
from .table import DRAWN, Column, Table, bar, words

#: Kinds of kernels in words.
IN_WORDS = {
    "convolution": "convolutions", "pointwise": "convolutions of one pixel", "depthwise": "depthwise convolutions",
    "wide_depthwise": "depthwise convolutions, 5 pixels and wider", "grouped": "grouped convolutions",
    "linear": "linear layers", "matmul": "matrix products", "batch_norm": "batch norms",
    "frozen_norm": "norms with known statistics", "group_norm": "group and layer norms",
    "activation": "activations", "exponential": "activations with an exponential",
    "elementwise": "other elementwise functions", "sum": "sums", "product": "products",
    "pool": "average pooling", "max_pool": "max pooling",
    "copy": "copies", "update": "updates of parameters",
}  # fmt: skip
#: Shares of a step's time below this are told together.
SMALL = 0.005


def time_table(time: StepTime) -> Table:
    """Table of where a step's time goes, by kinds of kernels; the seconds add up to the step's."""
    whole, rest = time.least, 0.0
    rows = []
    for kind, seconds in time.by_kind().items():
        if seconds < SMALL * whole:
            rest += seconds
        else:
            rows.append([IN_WORDS[kind], seconds, seconds / whole, bar(seconds, whole)])
    rows += [["all others", rest, rest / whole, bar(rest, whole)]] if rest else []
    columns = [
        words("kernels", "where the time goes"),
        Column("spent_seconds", "time", show_seconds),
        Column("share", "share", lambda share: f"{100 * share:.0f} %"),
        words(None, DRAWN),
    ]
    return Table("", columns, [*rows, ["step", whole, 1.0, None]], "time")


def device_notes(estimate: Estimate) -> list[str]:
    """Notes: how long a step takes on the request's device, how much energy; none without a device."""
    device = estimate.request.device
    if device is None:
        return []
    return [f"{device.title}: {memory_in_words(estimate)}", f"{time_in_words(estimate)}{energy_in_words(estimate)}"]


def memory_in_words(estimate: Estimate) -> str:
    """What a training process may take of the device's memory, and why."""
    device = estimate.request.device
    assert device is not None
    if device.calibrate_first:
        return "devices of this name differ too much to say anything; calibrate yours first."
    context = device.processor.context
    took = f"{show_size(device.system.value)} for its system"
    took += f" and {show_size(context.value)} for the runtime of its GPU" if context else ""
    held = "the process" if device.runs_a_process else "what PyTorch reserves" if context else "the peak of the tensors"
    left = f"{show_size(device.memory_bytes)} less {took} leave {show_size(device.usable_bytes)}"
    return f"{left}, against which {held} is held ({device.system.origin})."


def time_in_words(estimate: Estimate) -> str:
    """How long a step takes on the request's device, and what that rests on."""
    time = estimate.time
    paces = estimate.request.device.processor.paces if estimate.request.device else ()
    there = ", and ".join(f"in {pace.dtype} on {pace.target}" for pace in paces)
    measured = f" Steps were measured there {there} alone." if there else ""
    if time is None:
        return f"Its time is not known: no rates are in its file for this.{measured}"
    if time.step is None or time.high is None:
        return (
            f"A step takes at least {show_seconds(time.low)}, by the datasheet's rates; real steps take many times as"
            f" long.{measured or ' `costmodel calibrate` on the device measures them.'}"
        )
    return (
        f"A step takes {show_seconds(time.step)}, between {show_seconds(time.low)} and {show_seconds(time.high)}"
        f" ({time.source})."
    )


def energy_in_words(estimate: Estimate) -> str:
    """How much energy a step takes, after its time; nothing where it is not known."""
    joules = estimate.time.joules if estimate.time else None
    if joules is None:
        return ""
    step, low, high = (show_joules(float(joules[key])) for key in ("step", "low", "high"))  # type: ignore[arg-type]
    return f" That is {step}, between {low} and {high}: {joules['source']}."
