"""What would fit: changes of a request with which a step that exceeds a budget is within it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..api import estimate
from ..errors import CostmodelError
from ..graph.network import Network
from ..graph.recompute import MIXED
from ..step.estimate import Estimate
from ..strategies import STRATEGIES, read_text
from .fit import largest
from .needs import Need, peak

#: Slices of a frozen prefix that are tried.
SLICES = 8


class Bound(NamedTuple):
    """A budget in bytes, and what must be within it."""

    budget: int
    need: Need

    def holds(self, estimate: Estimate) -> bool:
        return self.need(estimate) <= self.budget


class Remedy(NamedTuple):
    """A change that makes a step fit.

    kind: a name of KINDS, or "plan". changes: arguments of `costmodel.estimate` that are other than asked. A plan's
    strategy is not among them, `costmodel plan` finds it; its `effective_batch` means micro-steps of fewer images.
    found: the estimate with the changes. peak_budget: bytes within which a plan was sought to peak.
    """

    kind: str
    changes: dict[str, Any]
    found: Estimate
    peak_budget: int | None = None


def remedies(network: Network, budget: int, need: Need = peak, **asked: Any) -> list[Remedy]:
    """The changes that make a step fit into `budget` bytes, at most one of a kind.

    Each kind is tried as it is, then with lean modules, then with these in channels_last; the first that fits counts.
    need: what must be within the budget. asked: the arguments of `costmodel.estimate` under which the step does not
    fit, all of them.
    """
    network, bound = network.unchecked(), Bound(budget, need)
    found = (_first(kind, network, bound, asked) for kind in [*KINDS, "plan"])
    return [remedy for remedy in found if remedy]


def _first(kind: str, network: Network, bound: Bound, asked: dict[str, Any]) -> Remedy | None:
    for setting in _settings(asked):
        try:
            if kind == "plan":
                if found := _plan(network, bound, {**asked, **setting}):
                    planned, peak_budget = found
                    alone = {} if planned.batch == asked["batch"] else {"effective_batch": asked["batch"]}
                    return Remedy(kind, {**setting, **alone}, planned, peak_budget)
                continue
            if setting and kind != "lean" and bound.holds(estimate(network, **{**asked, **setting})):
                return None  # lean modules alone fit: no need to give up more
            for change in KINDS[kind](network, bound, {**asked, **setting}):
                priced = estimate(network, **{**asked, **setting, **change})
                if bound.holds(priced):
                    return Remedy(kind, {**setting, **change}, priced)
        except CostmodelError:  # this network or strategy cannot be changed like that
            continue
    return None


def _settings(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What stays as asked, then lean modules, then these in channels_last."""
    lean = {} if asked["convention"] == "lean" else {"convention": "lean"}
    yield {}
    if lean:
        yield lean
    if asked["target"].startswith("cpu") and "channels_last" not in asked["target"]:
        yield {**lean, "target": f"{asked['target']},channels_last"}


def _smaller_batch(network: Network, bound: Bound, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    rest = {name: value for name, value in asked.items() if name != "batch"}
    value = largest(network, "batch", bound.budget, need=bound.need, **rest).value if asked["batch"] > 1 else None
    if value is not None and value < asked["batch"]:
        yield {"batch": value}


def _micro_steps(network: Network, bound: Bound, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same images in micro-steps, as few as fit."""
    images = asked["batch"]
    for steps in range(2, images + 1):
        if images % steps == 0:
            yield {"batch": images // steps, "accumulate": asked["accumulate"] * steps}


def _fewer_blocks(network: Network, bound: Bound, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    text = read_text(asked["strategy"])
    for blocks in range((text.blocks or 1) - 1, 0, -1):
        yield {"strategy": str(text.with_argument(blocks))}


def with_option(strategy: str, key: str, value: str) -> dict[str, Any]:
    """The change of a strategy by one more option."""
    return {"strategy": str(read_text(strategy).with_option(key, value))}


def _checkpoints(network: Network, bound: Bound, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    strategy = asked["strategy"]
    if "checkpoint=" not in strategy and network.graph.blocks:
        yield with_option(strategy, "checkpoint", "blocks")


def _mixed(network: Network, bound: Bound, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Lean modules that keep one wide map of each block."""
    if asked["convention"] == "lean" and "recompute=" not in asked["strategy"]:
        yield with_option(asked["strategy"], "recompute", MIXED)


def _lean(network: Network, bound: Bound, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Lean modules, which may run a frozen prefix in slices."""
    if asked["convention"] == "lean":
        yield {}
        if "prefix_slices=" not in asked["strategy"]:
            yield with_option(asked["strategy"], "prefix_slices", str(SLICES))


#: Kinds of changes, each a generator of what is tried in turn.
KINDS: dict[str, Callable[[Network, Bound, dict[str, Any]], Iterator[dict[str, Any]]]] = {
    "batch": _smaller_batch,
    "micro-steps": _micro_steps,
    "blocks": _fewer_blocks,
    "mixed": _mixed,
    "checkpoint": _checkpoints,
    "lean": _lean,
}


def _plan(network: Network, bound: Bound, asked: dict[str, Any]) -> tuple[Estimate, int] | None:
    """The best plan's estimate, with the bytes within which it peaks.

    None if none fits, or if what was asked for is not the training of one step.
    """
    name = read_text(asked["strategy"]).name
    if asked["accumulate"] > 1 or name in STRATEGIES and not STRATEGIES[name].trains:
        return None
    rest = {key: asked[key] for key in asked if key not in ("strategy", "accumulate")}
    found = _plan_within(network, bound, rest)
    if found is None and asked["batch"] > 1:
        found = _plan_within(network, bound, {**rest, "batch": 1}, micro_batches=asked["batch"])
    return found


def _plan_within(network: Network, bound: Bound, asked: dict[str, Any], **more: int) -> tuple[Estimate, int] | None:
    """A plan that fits, found among those that peak within fewer and fewer bytes. more: as `plan_if_any` takes it."""
    from .plan.plan import plan_if_any
    from .plan.within import TRIES, lower_peak

    allowed = bound.budget
    for _ in range(TRIES):
        plan = plan_if_any(network, allowed, **asked, **more)
        if plan is None or bound.holds(plan.estimate):
            return (plan.estimate, allowed) if plan else None
        allowed = lower_peak(plan.estimate, bound.need, bound.budget)
    return None
