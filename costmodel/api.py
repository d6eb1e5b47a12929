"""The public calls: load a network, estimate a step."""

from __future__ import annotations

from typing import Any

from .devices import Device, given_device
from .errors import CostmodelError, unknown
from .frontends import load_or_dry
from .graph.inputs import read_resolution
from .graph.network import Network
from .sizes.dtype import find_dtype
from .sizes.size import as_int, is_int
from .step.autocast import Undescribed, amp_of
from .step.checking import dry_alone, held, instead
from .step.estimate import Estimate
from .step.optimizer import find
from .step.request import Request, loss_of
from .step.shapes import DoesNotFit
from .step.walk import analyze
from .strategies import STRATEGIES, StrategyText, read_text
from .targets import DEVICES, parse, usual_target


def estimate(
    network: str | Network | Any,
    strategy: str = "full",
    batch: int = 8,
    resolution: Any = None,
    convention: str = "torch",
    optimizer: str = "sgd",
    target: str | None = None,
    dtype: str | None = None,
    accumulate: int = 1,
    check: bool = True,
    inputs: Any = None,
    loss: Any = None,
    targets: Any = None,
    amp: str | None = None,
    device: str | Device | None = None,
) -> Estimate:
    """The cost of one training step, from the layer graph alone.

    network: anything `load` takes. strategy: NAME[:K][,key=value...]. batch: images in a step. resolution: of the
    images, one side or (height, width), by default the network's own.
    target: cpu[,threads=N][,isa=ISA][,cores=N][,channels_last], cuda[,sm=N][,channels_last] or
    none[,threads=N][,channels_last]; by default the environment's COSTMODEL_TARGET, else the processor of this machine.
    dtype: of the whole network, float32, bfloat16 or float16, by default its own. accumulate: number of micro-steps of
    `batch` images whose gradients are added up before an update; the last one is priced. check: whether a module's
    estimate is held against a dry step of the module, which runs its forward and backward without data; where they
    differ, the figures are the dry step's, and a note says so. inputs, loss, targets: see `load`. amp: bfloat16 or
    float16, for torch.autocast around the forward pass and the loss of a float32 network, without a GradScaler. device:
    NAME|FILE[,memory=SIZE][,PROCESSOR] of the machine that trains, which also gives the target unless one is given; by
    default the environment's COSTMODEL_DEVICE, else none.
    Raises CostmodelError for a bad request.
    """
    network, asked = request(
        network,
        strategy,
        batch,
        resolution,
        convention,
        optimizer,
        target,
        dtype,
        accumulate,
        inputs,
        loss,
        targets,
        amp,
        device,
    )
    if network.untraceable:
        return dry_alone(network, asked, check)
    try:
        estimate = analyze(network, asked)
    except (DoesNotFit, Undescribed) as error:
        if network.dry is None or not check:
            raise
        return instead(error, network, asked)
    return held(estimate, network) if check else estimate


def request(
    network: str | Network | Any,
    strategy: str | StrategyText = "full",
    batch: int = 8,
    resolution: Any = None,
    convention: str = "torch",
    optimizer: str = "sgd",
    target: str | None = None,
    dtype: str | None = None,
    accumulate: int = 1,
    inputs: Any = None,
    loss: Any = None,
    targets: Any = None,
    amp: str | None = None,
    device: str | Device | None = None,
) -> tuple[Network, Request]:
    """The arguments of `estimate`, checked and parsed: the network at this image size, and the Request to price."""
    side = read_resolution(resolution)
    network = load_or_dry(network, resolution=side, inputs=inputs, loss=loss, targets=targets)
    batch, accumulate = as_int(batch), as_int(accumulate)
    for name, value in (("batch", batch), ("accumulate", accumulate)):
        if not is_int(value) or value < 1:
            raise CostmodelError(f"{name} is {value!r}; allowed: an integer from 1 to 2^63 - 1")
    if not isinstance(strategy, (str, StrategyText)):
        raise unknown("strategy", strategy, STRATEGIES)
    machine = given_device(device)
    target = (machine.processor.target if machine else usual_target()) if target is None else target
    if not isinstance(target, str):
        raise unknown("target", target, DEVICES)
    numbers = find_dtype(dtype, network.dtype)
    side = network.resolution if side is None else side
    text, place, loss = read_text(strategy), parse(target), loss_of(network)
    lower = amp_of(amp, numbers, convention, place)
    update = find(optimizer, accumulate)
    asked = Request(text, batch, side, convention, update, place, numbers, accumulate, loss, lower, machine)
    return network.at(side, batch), asked
