"""Compares a prediction with a real run."""

from __future__ import annotations

import gc
from typing import Any, NamedTuple

import torch
from torch import nn

from ..api import estimate
from ..errors import CostmodelError
from ..graph.network import Network
from ..step.estimate import Estimate
from ..targets import parse
from .measure import measure
from .realize import realize

PEAK_TOLERANCE = 0.001  # relative; oneDNN searches for block sizes in ways that are not predicted: see onednn.py


class Check(NamedTuple):
    """One quantity, predicted and measured.

    measured: None if it was not measured. tolerance: of the difference, relative to `measured`. bound: whether the
    prediction is a lower bound, since the network has unknown ops, which cost nothing.
    """

    quantity: str
    predicted: int
    measured: int | None
    tolerance: float = 0.0
    bound: bool = False

    @property
    def error(self) -> int | None:
        """Predicted minus measured."""
        return None if self.measured is None else self.predicted - self.measured

    @property
    def holds(self) -> bool:
        """Whether the two agree within the tolerance; a lower bound may be below."""
        if self.error is None or self.measured is None:
            return True
        return (self.error if self.bound else abs(self.error)) <= self.tolerance * self.measured


def here(target: str) -> str:
    """A CPU target with the number of threads that torch uses here, unless the target names a number."""
    named = parse(target)
    if named.device != "cpu" or "threads=" in target:
        return target
    return f"{target},threads={torch.get_num_threads()}"


def validate(
    network: Network,
    strategy: str,
    batch: int,
    resolution: int,
    convention: str = "torch",
    target: str = "cpu",
    **request: Any,
) -> list[Check]:
    """Estimate a step, run it, and compare both. Raises CostmodelError for a bad request.

    request: `optimizer`, `dtype` and `accumulate`, for the estimate and the run.
    """
    run = {**request, "target": here(target)}
    tensors = {**request, "target": f"none,threads={parse(run['target']).threads}"}
    predicted = estimate(network, strategy, batch, resolution, convention, **run)
    alone = estimate(network, strategy, batch, resolution, convention, **tensors)
    refuse_crashes(predicted)
    module = runnable(network.at(resolution, batch), strategy, convention, predicted)
    measured = measure(module, batch, resolution, network.channels, **run)
    del module
    gc.collect()  # modules are cyclic, and with the many objects of graphs alive Python collects cycles too rarely
    bound = bool(predicted.unknown_ops)
    return [
        Check("saved_bytes", predicted.saved_bytes, measured.saved_bytes, bound=bound),
        Check("step_peak_bytes", predicted.step_peak_bytes, measured.step_peak_bytes, PEAK_TOLERANCE, bound),
        Check("tensor_peak_bytes", alone.step_peak_bytes, measured.tensor_peak_bytes, bound=bound),
        Check("left_bytes", predicted.left_bytes, measured.left_bytes, bound=bound),
        Check("parameters", predicted.parameters, measured.parameters, bound=bound),
        Check("trainable_parameters", predicted.trainable_parameters, measured.trainable_parameters, bound=bound),
        Check("forward_flops", predicted.flops["forward"], measured.forward_flops, bound=bound),
        Check("backward_flops", predicted.flops["backward"], measured.backward_flops, bound=bound),
    ]


def runnable(network: Network, strategy: str, convention: str, predicted: Estimate) -> nn.Module:
    """The module to run: under `as_is` and `torch` the network's own, which can run unknown ops, else a realised one.

    Raises CostmodelError if the realised one would have unknown ops.
    """
    if strategy == "as_is" and convention == "torch":
        return network.module
    if predicted.unknown_ops:
        own = "they run in the module itself alone: --strategy as_is --convention torch"
        raise CostmodelError(f"{network.name}, {strategy}: unknown ops ({', '.join(predicted.unknown_ops)}); {own}")
    return realize(network, strategy, convention)


def refuse_crashes(predicted: Estimate) -> None:
    """Raise CostmodelError for a step in which torch 2.13 ends the process with a segmentation fault."""
    if not predicted.request.target.channels_last:
        return
    for node, demanded in zip(predicted.graph.nodes, predicted.graph.demanded):
        if node.op.kind == "group_norm" and demanded and "x" not in demanded:
            raise CostmodelError(
                f"{predicted.network}, {predicted.strategy}: torch crashes in channels_last in the backward pass of a"
                f" group norm whose input needs no gradient ({node.name}); allowed: contiguous tensors"
            )
