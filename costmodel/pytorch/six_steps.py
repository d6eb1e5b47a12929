"""A process that does what `--process` prices: it imports, realises, and makes six steps on random data.

    python -m costmodel.pytorch.six_steps '{"network": "mobilenet_v2", "strategy": "full", ...}'

It prints one line of JSON: what the operating system counted for it, in bytes, after each stage.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch

from ..api import estimate
from ..frontends import load
from ..frontends.modules.criterion import Criterion
from ..frontends.modules.given import arguments, in_format, real
from ..graph.inputs import read_resolution, resized
from ..heap.library import is_loaded, settle
from ..ops._named_loss import USUAL_LOSS
from ..step.optimizer import find
from ..step.process.memory import Environment, process_memory
from ..step.process.steps import STEPS
from . import frugal, realize
from .resident_set import resident_set
from .updates import optimizer_of
from .validate import by_position


def bytes_of(module: Any) -> int:
    """Bytes of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()] if module is not None else []
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """Make the steps. asked: the keys of `TINY` in step/process/environment.py.

    known: bytes of the steps, as they are predicted. most: of the process, and seconds: of each step. heap: whether the
    process has the heap for large blocks.
    """
    stages = {}

    def at(stage: str) -> None:
        stages[stage] = resident_set()

    if asked["frugal"]:
        frugal()
    torch.manual_seed(0)
    torch.set_num_threads(asked["threads"])
    beside = bytes_of(load(asked["loads"], **asked["with"]).module) if asked["loads"] else 0
    at("imports")
    network = load(asked["network"], resolution=asked["resolution"], **asked["options"])
    memory_format = torch.channels_last if asked["channels_last"] else torch.contiguous_format
    dtype = getattr(torch, asked["dtype"])
    module = realize(network, asked["strategy"], asked["convention"], check=False)
    module = module.to(dtype=dtype, memory_format=memory_format)
    at("module")
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = optimizer_of(find(asked["optimizer"]), trained) if trained else None
    at("optimizer")
    inputs = resized(by_position(network).inputs, read_resolution(asked["resolution"]) or network.resolution)
    args, _ = in_format(arguments(inputs, asked["batch"], dtype, real), memory_format)
    loss_of = Criterion(network.loss or USUAL_LOSS, asked["batch"], torch.device("cpu"), dtype)
    at("data")
    settle()  # what reading and tracing a network has taken for itself
    seconds = []
    for step in range(STEPS):
        start = time.perf_counter()
        if optimizer is None:
            with torch.no_grad():
                module(*args)
        else:
            loss = loss_of.of([module(*args)])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            del loss
        seconds.append(time.perf_counter() - start)
        at(f"step {step + 1}")
    most = resident_set()[1]
    target = f"cpu,threads={asked['threads']}{',channels_last' if asked['channels_last'] else ''}"
    same = ("strategy", "batch", "resolution", "convention", "optimizer", "dtype")
    priced = estimate(network, **{key: asked[key] for key in same}, target=target, check=False)
    known = process_memory(priced, Environment(0, asked["frugal"], "")).expected
    return {"stages": stages, "most": most, "known": known + beside, "seconds": seconds, "heap": is_loaded()}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
