"""Holds an estimate of a module against a dry step of the module itself."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

from ..errors import CostmodelError
from ..graph.dry import DryStep, RunDry, Setting
from ..graph.inputs import resized
from ..graph.network import Network
from ..strategies import apply, setting_of
from .certainty import CHECKED, LOWER_BOUND, NOT_MODELLED, Certainty
from .dry_estimate import of_dry_step
from .estimate import Estimate
from .optimizer import find
from .other_steps import of_other_steps, unsettled
from .parting import differences, held_beside, where_they_part
from .request import Request
from .scratch import tensors_of
from .walk import analyze

#: Stands for all parameters.
ALL = frozenset({"*"})
#: Strategies that need no graph.
SETTINGS = {
    "full": Setting(ALL, frozenset(), True),
    "as_is": Setting(None, None, True),
    "inference": Setting(frozenset(), frozenset(), False),
}
#: Batches at which a module is held against its graph beside the one that was asked for: the first that is another.
OTHER_BATCHES = (5, 3)
#: What `at_another_batch` finds, kept for as long as a network lives.
FOUND: WeakKeyDictionary[Network, dict[Request, tuple[str, ...]]] = WeakKeyDictionary()
#: The convention of stock PyTorch, which a dry step follows.
STOCK = "torch"


def held(estimate: Estimate, network: Network) -> Estimate:
    """An estimate with its certainty; where it differs from a dry step of the module, the dry step's figures.

    Raises CostmodelError if it differs and is counted by another convention than `torch`.
    """
    request = estimate.request
    if estimate.unknown_ops:
        return replace(estimate, degrees=Certainty(*[LOWER_BOUND] * 4))
    found = dry_step(network, request)
    if found is None:
        return estimate
    tensors = on_tensors(estimate, network)
    parted = differences(tensors, found) + unsettled(found)
    on_cuda = request.target.device == "cuda"
    if not parted:
        said = (*estimate.said, *of_other_steps(found), *found_at_another_batch(network, request))
        if not checks(request):
            return replace(estimate, said=said)
        kernels = NOT_MODELLED if found.fused else CHECKED
        return replace(estimate, degrees=Certainty(CHECKED, CHECKED, CHECKED, kernels), said=said)
    note = reason(tensors, found, parted)
    if request.convention != STOCK:
        raise CostmodelError(
            f"{network.name}: {note}; convention {request.convention!r} needs the graph; allowed: torch"
        )
    refuse_updates(network, request, note)
    if on_cuda:
        raise CostmodelError(f"{network.name}: {note}; target 'cuda' needs the graph; allowed: cpu, none")
    return of_dry_step(estimate, found, f"From a dry step: {note}.")


def dry_alone(network: Network, request: Request, check: bool) -> Estimate:
    """The dry step of a module that has no layer graph. Raises CostmodelError where the graph is needed.

    check: whether dry steps may run.
    """
    setting = setting_of_request(network, request) if request.convention == STOCK else None
    if not check or setting is None or network.dry is None or request.target.device == "cuda":
        allowed = f"--convention torch, --target cpu or none, --strategy {', '.join(SETTINGS)}: a dry step answers them"
        raise CostmodelError(f"{network.name}: {network.untraceable}; allowed: {allowed}")
    refuse_updates(network, request, network.untraceable)
    try:
        found = run(network.dry, setting, network, request)
    except CostmodelError as error:
        beside = "" if str(error) == network.untraceable else f"; {error}"
        raise CostmodelError(f"{network.name}: {network.untraceable}{beside}") from error
    images = (request.batch, *resized(network.inputs, request.resolution)[0].shape)
    bare = Estimate(
        network.name, request, network.graph, network.inputs, (images,), (), (), (), tuple, None, None, network.notes
    )
    beside = "".join(f"; {said}" for said in [*held_beside(found), *unsettled(found)])
    return of_dry_step(bare, found, f"From a dry step, without a layer graph: {network.untraceable}{beside}.")


def refuse_updates(network: Network, request: Request, why: str) -> None:
    """Raise CostmodelError for what a dry step has not: earlier micro-batches' gradients, updates before its end."""
    if request.accumulate > 1:
        raise CostmodelError(f"{network.name}: {why}; accumulate needs the graph; allowed: 1")
    if request.update.at_once:
        name = request.optimizer.name
        raise CostmodelError(f"{network.name}: {why}; optimizer {name!r} needs the graph; allowed: without in_place")


def instead(error: CostmodelError, network: Network, request: Request) -> Estimate:
    """The dry step of a module that does not run as its graph says. Raises the error if a dry step cannot tell."""
    try:
        return dry_alone(replace(network, untraceable=str(error)), request, True)
    except CostmodelError:
        raise error from None


def refuse_differences(network: Network, request: Request, what: str) -> bool:
    """Whether there is a dry step of the module. Raises CostmodelError if the graph differs from it.

    what: what needs the graph.
    """
    found = dry_step(network, request)
    if found is None:
        return False
    tensors = on_tensors(analyze(network, request), network)
    parted = differences(tensors, found) + unsettled(found)
    if parted:
        raise CostmodelError(
            f"{network.name}, {request.strategy}: {reason(tensors, found, parted)}; {what} needs the graph"
        )
    return True


def checks(request: Request) -> bool:
    """Whether a dry step that agrees checks the figures of a request: it ran on the CPU, under `torch`."""
    return request.convention == STOCK and request.target.device != "cuda"


def found_at_another_batch(network: Network, request: Request) -> tuple[str, ...]:
    """`at_another_batch`, asked once for each request."""
    found = FOUND.setdefault(network, {})
    if request not in found:
        found[request] = at_another_batch(network, request)
    return found[request]


def at_another_batch(network: Network, request: Request) -> tuple[str, ...]:
    """A sentence for people if a module does at another batch what its graph does not describe: it may ask for it."""
    batch = next(one for one in OTHER_BATCHES if one != request.batch)
    several = network
    if request.batch == 1:
        if network.retrace is None:
            return ()
        several = network.retrace(network.inputs, False)
    other = request._replace(batch=batch)
    try:
        found = dry_step(several, other)
        parted = differences(on_tensors(analyze(several, other), several), found) if found is not None else []
    except CostmodelError as error:
        parted = [str(error)]
    return (f"The layer graph does not hold at every batch; at {batch}: {'; '.join(parted)}.",) if parted else ()


def reason(tensors: Estimate, dry: DryStep, parted: list[str]) -> str:
    """Words for where and how a module does something else than its layer graph."""
    where = where_they_part(tensors, dry)
    place = f" (first in {where})" if where else ""
    return f"this module does what the layer graph does not describe{place}: {'; '.join(parted)}"


def dry_step(network: Network, request: Request) -> DryStep | None:
    """The dry step of a request; None if there is no module, or if the step is more than its flags and modes."""
    if network.dry is None:
        return None
    setting = setting_of_request(network, request)
    if setting is None:
        return None
    return run(network.dry, setting, network, request)


def run(dry: RunDry, setting: Setting, network: Network, request: Request) -> DryStep:
    """One dry step on the inputs, dtype, memory format and threads of a request."""
    dtype = "" if request.dtype.name == network.dtype else request.dtype.name
    inputs, target = resized(network.inputs, request.resolution), request.target
    amp = request.amp.name if request.amp else ""
    return dry(setting, request.loss, inputs, request.batch, dtype, target.channels_last, target.threads, amp)


def setting_of_request(network: Network, request: Request) -> Setting | None:
    """What a request's strategy sets in the network's module; None if it is more than flags and modes."""
    if network.untraceable:
        setting = SETTINGS.get(request.strategy.name) if not request.strategy.options else None
        if setting is None or setting.trains != ALL:
            return setting
        keys = [*network.graph.parameters, *((owner, name) for owner, name, _ in network.graph.idle)]
        return setting._replace(trains=frozenset(".".join(key).lstrip(".") for key in keys))
    as_is = request.strategy.name == "as_is"
    return setting_of(network.graph, apply(request.strategy, network.graph, request.loss), as_is)


def on_tensors(estimate: Estimate, network: Network) -> Estimate:
    """The same step under `torch` on tensors alone and without an update, as a dry step counts it."""
    request = estimate.request
    plain = request._replace(convention=STOCK, target=tensors_of(request.target), accumulate=1, optimizer=find("sgd"))
    return analyze(network, plain)
