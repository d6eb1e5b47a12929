"""Compares a prediction with a real run."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn

from ..api import estimate
from ..errors import CostmodelError
from ..graph.inputs import resized
from ..graph.network import Network
from ..step.certainty import NOT_MODELLED
from ..step.checking import STOCK, setting_of_request
from ..step.dry_estimate import DryEstimate
from ..step.estimate import Estimate
from ..step.process.gpu import gpu_memory
from ..targets import parse
from .copies import copy_of, gradients_of
from .measure import measure
from .realize import realize


class Check(NamedTuple):
    """One quantity, predicted and measured.

    measured: None if it was not measured. bound: whether the prediction is a lower bound: unknown ops cost nothing, and
    kernels without a rule allocate more.
    """

    quantity: str
    predicted: int
    measured: int | None
    bound: bool = False

    @property
    def error(self) -> int | None:
        """Predicted minus measured."""
        return None if self.measured is None else self.predicted - self.measured

    @property
    def holds(self) -> bool:
        """Whether the two are equal; a lower bound may be below."""
        return not self.error or self.bound and self.error < 0


def here(target: str) -> str:
    """A CPU target with the number of threads that torch uses here, unless the target names a number, or is a probe."""
    named = parse(target)
    if named.device != "cpu" or named.is_probed or "threads=" in target:
        return target
    return f"{target},threads={torch.get_num_threads()}"


def tensors_alone(target: str) -> str:
    """The target that counts the tensors of a step alone, as they are on a target."""
    found = parse(target)
    return f"none,threads={found.threads}{',channels_last' if found.channels_last else ''}"


def validate(
    network: Network,
    strategy: str,
    batch: int,
    resolution: Any,
    convention: str = "torch",
    target: str | None = None,
    **request: Any,
) -> list[Check]:
    """Estimate a step, run it, and compare both. Raises CostmodelError for a bad request.

    request: `optimizer`, `dtype`, `amp` and `accumulate`, for the estimate and the run.
    """
    run = {**request, "target": here("cpu" if target is None else target)}  # where it runs, whatever is usual
    tensors = {**request, "target": tensors_alone(run["target"])}
    predicted = estimate(network, strategy, batch, resolution, convention, **run)
    alone = estimate(network, strategy, batch, resolution, convention, **tensors)
    refuse_crashes(predicted)
    checks: list[Check] = []
    own = own_module(network.at(resolution, batch), predicted)
    if own is not None:
        before = gradients_of(network.module)
        checks += compared(own, predicted, alone, network, run)
        if gradients_of(network.module) != before:
            raise CostmodelError(
                f"{network.name}: its loss trains parameters of the module itself: a function that it holds reads them"
                " there, so that a copy cannot be measured"
            )
    if own is None or not (strategy == "as_is" or isinstance(predicted, DryEstimate) or network.graph.returns_several):
        module = realised(network.at(resolution, batch), strategy, convention, predicted)
        found = compared(module, predicted, alone, by_position(network), run)
        checks += [one._replace(quantity=f"realised_{one.quantity}") for one in found] if checks else found
    return checks


def compared(
    module: nn.Module, predicted: Estimate, alone: Estimate, network: Network, run: dict[str, Any]
) -> list[Check]:
    """The prediction beside a real step of a module, on a network's inputs. alone: the prediction of tensors alone."""
    inputs = resized(network.inputs, predicted.request.resolution)
    measured = measure(module, int(predicted.batch), inputs=inputs, **{"loss": network.loss, **run})
    del module
    gc.collect()  # modules are cyclic, and with the many objects of graphs alive Python collects cycles too rarely
    bound = bool(predicted.unknown_ops)
    least = bound or predicted.certainty.step_peak == NOT_MODELLED
    pools = gpu_memory(predicted) if measured.reserved_bytes is not None else None
    of_pools = [
        Check("allocated_bytes", pools.allocated, measured.allocated_bytes, bound=True),
        Check("reserved_bytes", pools.reserved, measured.reserved_bytes, bound=True),
    ] if pools else []  # fmt: skip
    return [
        *of_pools,
        Check("saved_bytes", predicted.saved_bytes, measured.saved_bytes, bound=bound),
        Check("step_peak_bytes", predicted.step_peak_bytes, measured.step_peak_bytes, bound=least),
        Check("tensor_peak_bytes", alone.step_peak_bytes, measured.tensor_peak_bytes, bound=bound),
        Check("left_bytes", predicted.left_bytes, measured.left_bytes, bound=bound),
        Check("parameters", predicted.parameters, measured.parameters, bound=bound),
        Check("trainable_parameters", predicted.trainable_parameters, measured.trainable_parameters, bound=bound),
        Check("forward_flops", predicted.flops["forward"], measured.forward_flops, bound=bound),
        Check("backward_flops", predicted.flops["backward"], measured.backward_flops, bound=bound),
    ]


def by_position(network: Network) -> Network:
    """A network whose inputs are given by position alone, as a realised module takes them."""
    return replace(network, inputs=tuple(replace(one, keyword="") for one in network.inputs))


def own_module(network: Network, predicted: Estimate) -> nn.Module | None:
    """A copy of the network's own module with a strategy's flags and modes; None where these are not all of it."""
    request = predicted.request
    setting = setting_of_request(network, request) if request.convention == STOCK else None
    if network.module is None or setting is None:
        return None
    module = copy_of(network.module)
    if setting.trains is not None:
        for path, parameter in module.named_parameters():
            parameter.requires_grad_(path in setting.trains)
    if setting.evaluates is not None:
        for path, child in module.named_modules():
            child.training = setting.has_loss and path not in setting.evaluates
    return module


def realised(network: Network, strategy: str, convention: str, predicted: Estimate) -> nn.Module:
    """The module that the strategy makes of the network.

    Raises CostmodelError if it would have unknown ops.
    """
    if predicted.unknown_ops:
        own = "they run in the module itself alone: --strategy as_is --convention torch"
        raise CostmodelError(f"{network.name}, {strategy}: unknown ops ({', '.join(predicted.unknown_ops)}); {own}")
    return realize(network, strategy, convention)


def refuse_crashes(predicted: Estimate) -> None:
    """Raise CostmodelError for a step in which torch 2.13 ends the process with a segmentation fault."""
    if isinstance(predicted, DryEstimate) and predicted.step.crashes:
        raise CostmodelError(
            f"{predicted.network}: torch crashes in the backward pass of a group norm of channels_last images that need"
            " no gradient; allowed: contiguous tensors"
        )
    if not predicted.request.target.channels_last:
        return
    for node, demanded in zip(predicted.graph.nodes, predicted.graph.demanded):
        if node.op.kind == "group_norm" and demanded and "x" not in demanded:
            raise CostmodelError(
                f"{predicted.network}, {predicted.strategy}: torch crashes in channels_last in the backward pass of a"
                f" group norm whose input needs no gradient ({node.name}); allowed: contiguous tensors"
            )
