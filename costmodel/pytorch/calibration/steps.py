"""A few whole steps, from which the constants follow that single layers do not tell."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ...api import estimate
from ...devices.pace import Pace
from ...frontends import load
from ...step.passes import Pass
from ..realize import realize
from .clock import Clock

RUNS = 5
#: Numbers of images and their sides: passes are the same, and their bytes are not.
SIZES = ((1, 128), (4, 128), (4, 192))
#: Networks and strategies of the steps; lean ones tell of functions in Python.
STRATEGIES = (("full", "torch"), ("last", "torch"), ("mobiletl:3", "lean"))
NETWORKS = ("mobilenet_v3_large", "proxyless_mobile")
DENSE = "dense"


class Step(NamedTuple):
    """A whole step: its network and strategy, its passes, and its seconds."""

    network: str
    strategy: str
    passes: list[Pass]
    seconds: float


def dense_network() -> nn.Module:
    """A plain network of 3x3 convolutions with norms, as no shipped one is."""
    layers: list[nn.Module] = []
    for channels, out in ((3, 32), (32, 64), (64, 128), (128, 256)):
        layers += [nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        layers += [nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 1000))


def measured_steps(clock: Clock, target: str) -> list[Step]:
    """The steps, measured in turns: what disturbs a machine lasts longer than one of them."""
    networks = {**{name: (load(name), STRATEGIES) for name in NETWORKS}, DENSE: (load(dense_network()), STRATEGIES[:2])}
    steps, calls = list[Step](), list[Callable[[], None]]()
    for name, (network, strategies) in networks.items():
        for strategy, convention in strategies:
            module = realize(network, strategy, convention)
            for batch, side in SIZES:
                priced = estimate(network, strategy, batch, side, convention, target=target)
                steps.append(Step(name, strategy, priced.passes, 0.0))
                calls.append(step_of(module, batch, side, priced.request.target.channels_last))
    seconds = np.zeros((RUNS + 1, len(calls)))
    for row in seconds:
        for number, call in enumerate(calls):
            call()  # the step before was another network's
            start = clock.now()
            call()
            row[number] = clock.now() - start
    return [step._replace(seconds=float(one)) for step, one in zip(steps, np.median(seconds[1:], axis=0))]


def step_of(module: nn.Module, batch: int, side: int, channels_last: bool) -> Callable[[], None]:
    """A call that makes a training step on some images of a side."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    module = module.to(memory_format=order)
    images = torch.randn(batch, 3, side, side).contiguous(memory_format=order)
    classes = torch.zeros(batch, dtype=torch.int64)
    optimizer = torch.optim.SGD([one for one in module.parameters() if one.requires_grad], lr=1e-3)

    def step() -> None:
        cross_entropy(module(images), classes).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def columns(steps: list[Step], pace: Pace) -> np.ndarray:
    """Of each step: seconds by the factors of single layers, passes, bytes, and passes of functions in Python."""
    return np.array([
        [
            sum(map(pace.seconds_of, step.passes)),
            len(step.passes),
            sum(one.nbytes for one in step.passes),
            sum(one.in_python for one in step.passes),
        ]
        for step in steps
    ], dtype=float)  # fmt: skip


def beside_factors(found: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Seconds of a pass, of a byte and of a function in Python, none below 0, that fit steps best beside the factors.

    found: as `columns` gives it. The squares of relative errors are least among all choices of which are 0.
    """
    best, least = np.zeros(3), np.inf
    for size in (3, 2, 1, 0):
        for chosen in map(list, combinations(range(3), size)):
            fitted = np.zeros(3)
            scaled = found[:, 1:][:, chosen] / seconds[:, None]
            fitted[chosen] = np.linalg.lstsq(scaled, 1 - found[:, 0] / seconds, rcond=None)[0]
            error = np.sum(((found[:, 0] + found[:, 1:] @ fitted) / seconds - 1) ** 2)
            if (fitted >= 0).all() and error < least:
                best, least = fitted, error
    return best
