"""What Python, torch and this package take in this environment, measured by a process that trains a tiny network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ...errors import CostmodelError
from ...heap.library import with_the_heap, without_the_heap
from ...targets.machine import installed_torch
from .memory import Environment, stated
from .priced import Priced

MODULE = "costmodel.pytorch.six_steps"
#: Steps of a few megabytes, after which a process has loaded whatever it needs.
TINY: dict[str, Any] = {
    "network": "mcunet_5fps", "strategy": "full", "convention": "torch", "batch": 2, "resolution": 32,
    "optimizer": "sgd", "dtype": "float32", "channels_last": False, "threads": 1,
    "frugal": False, "options": {}, "loads": "", "with": {},
}  # fmt: skip


def asked_of(estimate: Priced, network: str, frugal: bool, options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `six_steps` for the step of an estimate. network, options: as a process can load it."""
    request = estimate.request
    return {
        "network": network,
        "strategy": str(request.strategy),
        "convention": request.convention,
        "batch": request.batch,
        "resolution": request.resolution,
        "optimizer": request.optimizer.name,
        "dtype": request.dtype.name,
        "channels_last": request.target.channels_last,
        "threads": request.target.threads,
        "options": {name: value for name, value in options.items() if value},
        "frugal": frugal,
    }


def six_steps(**asked: Any) -> dict[str, Any]:
    """What a fresh process tells that makes six steps. asked: what differs from TINY.

    Raises CostmodelError if there is no torch, if the process ends in an error, and if the heap for large blocks, which
    a frugal process has, cannot be had.
    """
    if installed_torch() is None:
        raise CostmodelError("a process is measured by training in one, and torch is not installed")
    given = {**TINY, **asked}
    variables = with_the_heap() if given["frugal"] else without_the_heap()
    command = [sys.executable, "-m", MODULE, json.dumps(given)]
    run = subprocess.run(command, capture_output=True, text=True, env=variables)
    if run.returncode:
        said = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        raise CostmodelError(f"a process of six steps of {given['network']} ends in: {said}")
    found: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    if given["frugal"] != found["heap"]:
        raise CostmodelError("a process is not started with the heap for large blocks, or not without it")
    return found


@lru_cache(maxsize=8)
def environment(
    frugal: bool = False, threads: int = 1, loads: str = "", options: tuple[tuple[str, Any], ...] = ()
) -> Environment:
    """This environment, measured once by a process of some seconds; stated, with the reason, where that cannot be.

    frugal: of a process of `python -m costmodel.frugal`. threads: of its kernels. loads, options: a network that the
    process loads, with its options, for what its module imports.
    """
    try:
        found = six_steps(frugal=frugal, threads=threads, loads=loads, **{"with": dict(options)})
    except CostmodelError as error:
        return stated(frugal, str(error))
    return Environment(found["most"] - found["known"], frugal, "measured here by a short run", bool(loads))
