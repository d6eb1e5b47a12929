"""Finds the best plan within a budget: what to train in each part of a network, and which blocks to run again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...api import estimate, request
from ...conventions import find
from ...errors import CostmodelError, unknown
from ...escapes import visible
from ...files.whole import write_text
from ...frontends import load
from ...graph.inputs import read_resolution, shown_resolution
from ...graph.network import Network
from ...graph.recompute import WITHIN_PARTS
from ...notebook import Shown
from ...sizes.dtype import find_amp
from ...sizes.size import as_int, is_int
from ...sizes.units import in_bytes
from ...step.checking import refuse_differences
from ...step.estimate import Estimate
from ...step.resident import inputs_bytes, resident, targets_bytes
from ...step.shapes import shapes_of
from ...step.walk import analyze
from ...strategies import (
    FROZEN,
    Strategy,
    StrategyText,
    all_frozen,
    choices_of,
    chosen_parts,
    named,
    of_code,
    possible,
    with_loss,
)
from ...strategies import forms as forms_of_plans
from ...strategies._file import text
from .limit import Limit
from .nothing_fits import NothingFits
from .part_costs import PartCost, PartCosts, refuse_other_order
from .search import Found, Search
from .unit_options import Value
from .values import MAXIMISE, TRAINING, checked_values, read_values


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Shown):
    """The best plan for a budget, and its cost.

    strategy: as `estimate`, `realize` and `validate` take it. maximised: "parameters", "blocks", "values" or the CSV
    file; value: the plan's total of it. micro_batches: steps of `estimate.batch` images whose gradients are added up
    before an update. is_proven: whether it is certain that no plan has a greater value. The search is cut short, and
    proves nothing, only if very many plans are nearly as good.
    """

    network: Network
    strategy: str
    budget_bytes: int
    maximised: str
    value: float
    micro_batches: int
    estimate: Estimate
    is_proven: bool

    @property
    def choices(self) -> list[tuple[str, str, bool]]:
        """(part, what trains in it, whether it runs again in the backward pass) for each part, from the images up.

        Empty if a named strategy is better than every choice of parts.
        """
        return chosen_parts(self.strategy, self.network.graph)

    def to_dict(self) -> dict[str, Any]:
        """The request, the choices and their estimate, as plain values."""
        return {
            "network": self.network.name,
            "strategy": self.strategy,
            "budget_bytes": self.budget_bytes,
            "fits": True,
            "maximise": self.maximised,
            "value": self.value,
            "is_proven": self.is_proven,
            "batch": self.estimate.batch,
            "micro_batches": self.micro_batches,
            "choices": [{"name": name, **described(choice, again)} for name, choice, again in self.choices],
            "estimate": self.estimate.to_dict(),
        }

    def __repr__(self) -> str:
        peak = f"{self.estimate.peak_bytes} of {self.budget_bytes} bytes"
        return f"<Plan for {visible(f'{self.network.name}, {self.strategy}')}: {peak}>"

    def save(self, path: str, force: bool = True) -> None:
        """Write a strategy file, which `estimate`, `realize` and the commands take as a strategy.

        force: whether to replace a file that is there. Raises CostmodelError if it cannot be written.
        """
        request = self.estimate.request
        note = {
            "budget_bytes": self.budget_bytes, "peak_bytes": self.estimate.peak_bytes, "batch": request.batch,
            "micro_batches": self.micro_batches, "resolution": shown_resolution(request.resolution),
            "convention": request.convention, "optimizer": request.optimizer.name, "dtype": request.dtype.name,
        }  # fmt: skip
        write_text(path, text(self.network.name, self.strategy, self.network.graph, note), force)


def plan(
    network: str | Network | Any,
    budget: int | str,
    maximise: str | Mapping[str, Any] = "parameters",
    batch: int = 8,
    resolution: Any = None,
    convention: str = "torch",
    optimizer: str = "sgd",
    target: str | None = None,
    dtype: str | None = None,
    max_flops: int | None = None,
    contiguous: bool = False,
    checkpoint: bool = True,
    effective_batch: int | None = None,
    inputs: Any = None,
    loss: Any = None,
    targets: Any = None,
    amp: str | None = None,
    device: Any = None,
    max_seconds: float | None = None,
    forms: Sequence[str] = (),
) -> Plan:
    """The best plan whose step peaks at no more than `budget`, in bytes or as "256MiB": a choice for each part.

    Each block is frozen, trains its biases, trains as in MobileTL, or trains fully; with checkpoint, it may run again
    in the backward pass. The stem and the head have the same choices except MobileTL's. The classifier always trains.
    maximise: "parameters" (the number that train), "blocks" (those in which something trains), or values: a number for
    each block, or for each block and choice (bias, mobiletl, full), as a mapping or a CSV file; the values of what
    trains are summed. Of equally good plans, the one with the least work found is chosen. max_flops: FLOPs of a step,
    all its micro-batches included. contiguous: whether every part above one that trains must train. effective_batch:
    images per update; `batch` is then ignored, and the fewest micro-batches that reach the best value are used. inputs,
    loss, targets: see `load`. amp: no plan is made under torch.autocast, which holds casts of weights across the parts
    that a plan puts together. device: as in `estimate`. max_seconds: of a step on it, in place of max_flops; it must
    have been calibrated, and of equally good plans the quickest is chosen. forms: those in which blocks may keep their
    input ("quantised", "backrazor", "gradfilter"), by the convention lean; their gradients are not exact. Raises
    CostmodelError for a bad request, and its subclass NothingFits if nothing fits: the message names the least budget.
    """
    budget, batch, effective_batch, max_flops = map(as_int, (budget, batch, effective_batch, max_flops))
    if effective_batch is not None and (not is_int(effective_batch) or effective_batch < 1):
        raise CostmodelError(f"effective_batch is {effective_batch!r}; allowed: an integer >= 1")
    asked = dict(resolution=resolution, convention=convention, optimizer=optimizer, target=target, dtype=dtype)
    asked |= dict(amp=amp, device=device)
    of_network = dict(inputs=inputs, loss=loss, targets=targets)
    limit = Limit.of(max_flops, max_seconds)
    chosen = {"contiguous": contiguous, "checkpoint": checkpoint, "forms": checked_forms(forms, convention)}
    planner = _planner(network, in_bytes(budget), batch, maximise, limit, chosen, asked, of_network)
    return planner.required(batch, 1) if effective_batch is None else planner.accumulated(effective_batch)


def plan_if_any(network: Network, budget: int, batch: int, micro_batches: int = 1, **asked: Any) -> Plan | None:
    """The plan that trains most parameters in a step, as `plan` finds it; None if none fits, which is told faster.

    asked: resolution, convention, optimizer, target, dtype, amp and device, as in `plan`.
    """
    return _planner(network, budget, batch, "parameters", Limit(), {}, asked).best(batch, micro_batches)


def checked_forms(names: Sequence[str], convention: str) -> frozenset[str]:
    """Forms that are asked for. Raises CostmodelError for an unknown one, and for a convention without forms."""
    for name in names:
        if name not in forms_of_plans():
            raise unknown("form of a plan", name, forms_of_plans())
    if names and not find(convention).makes_again:
        raise CostmodelError(f"convention {convention!r} has no forms ({', '.join(names)}); allowed: lean")
    return frozenset(names)


def _planner(
    network: str | Network | Any,
    budget: int,
    batch: int,
    maximise: str | Mapping[str, Any],
    limit: Limit,
    chosen: dict[str, Any],
    asked: dict[str, Any],
    of_network: Mapping[str, Any] = MappingProxyType({}),
) -> _Planner:
    """The planner for a request, whose numbers are checked."""
    if find_amp(asked.get("amp")) is not None:
        raise CostmodelError(
            f"amp {asked['amp']}: a plan adds up the costs of parts, across which autocast holds casts of weights;"
            " allowed: none here; `costmodel report --amp` prices what a plan chose"
        )
    network = load(network, resolution=asked["resolution"], **of_network)
    resolution = read_resolution(asked["resolution"]) or network.resolution
    for name, number in (("budget", budget), ("batch", batch), ("max_flops", limit.flops)):
        if number is not None and (not is_int(number) or number < 1):
            raise CostmodelError(f"{name} is {number!r}; allowed: an integer >= 1")
    if chosen.get("forms") and not network.graph.blocks:
        raise CostmodelError(f"{network.name} has no blocks that could be in a form; allowed: name them (--blocks-are)")
    asked = {**asked, "resolution": resolution}
    everything = request(network, "full", batch, **asked)
    refuse_differences(*everything, "a plan")
    refuse_other_order(*everything)
    return _Planner(network.at(resolution).unchecked(), asked, budget, maximise, limit, **chosen)


class _Planner:
    """Finds plans for one request, except that each method takes its own batch and number of micro-batches."""

    def __init__(
        self,
        network: Network,
        asked: dict[str, Any],
        budget: int,
        maximise: str | Mapping[str, Any],
        limit: Limit,
        contiguous: bool = False,
        checkpoint: bool = True,
        forms: frozenset[str] = frozenset(),
    ) -> None:
        self.network, self.asked, self.budget = network, asked, budget
        self.limit, self.contiguous, self.checkpoint, self.forms = limit, contiguous, checkpoint, forms
        self.frozen = of_code(all_frozen(network.graph))
        self.known_costs: dict[tuple[int, int], PartCosts] = {}
        self.maximised = maximise if isinstance(maximise, str) else "values"
        if maximise not in MAXIMISE:
            values = read_values(maximise) if isinstance(maximise, str) else maximise
            self.values = checked_values(values, network.graph.blocks)

    def best(self, batch: int, micro_batches: int) -> Plan | None:
        """The best plan for a batch; None if nothing fits."""
        searched = self.searched(batch, micro_batches)
        candidates = [*([searched] if searched else []), *self.named(batch, micro_batches)]
        if not candidates:
            return None
        best = max(candidates, key=lambda found: (found.value, -found.work))
        chosen = self.estimate(best.code, batch, micro_batches)
        is_proven = all(found.is_proven for found in candidates)
        return Plan(self.network, best.code, self.budget, self.maximised, best.value, micro_batches, chosen, is_proven)

    def required(self, batch: int, micro_batches: int) -> Plan:
        """The best plan for a batch. Raises NothingFits."""
        found = self.best(batch, micro_batches)
        if found is None:
            raise self.nothing_fits(batch, micro_batches)
        return found

    def nothing_fits(self, batch: int, micro_batches: int) -> NothingFits:
        """The error for a budget into which no plan fits; it names the least that a plan takes."""
        frozen = self.estimate(self.frozen, batch, micro_batches)
        over = self.limit.exceeds(frozen)
        least = frozen if over else self.least(batch, micro_batches, frozen)
        return NothingFits(least, self.budget, self.limit, micro_batches)

    def accumulated(self, images: int) -> Plan:
        """The best plan for an update with this many images, in the fewest micro-batches that reach the best value."""
        whole = self.best(images, 1)
        if images == 1:
            return whole or self.required(images, 1)
        sizes = [size for size in range(1, images // 2 + 1) if images % size == 0]
        if self.limit.seconds is not None:  # the smaller the batch the more fits, but the longer the step takes
            each = [whole, *(self.best(size, images // size) for size in reversed(sizes))]
            return max(filter(None, each), key=lambda plan: plan.value, default=None) or self.required(images, 1)
        single = self.required(1, images) if whole is None else self.best(1, images)
        if whole is not None and (single is None or whole.value >= single.value):
            return whole
        assert single is not None
        found = single
        low, high = 0, len(sizes)  # the smaller the batch the more fits
        while high - low > 1:
            middle = (low + high) // 2
            tried = self.best(sizes[middle], images // sizes[middle])
            if tried is not None and tried.value >= single.value:
                low, found = middle, tried
            else:
                high = middle
        return found

    def estimate(self, strategy: str | StrategyText, batch: int, micro_batches: int) -> Estimate:
        """The exact cost of a strategy."""
        return estimate(self.network, str(strategy), batch, accumulate=micro_batches, **self.asked)

    def costs(self, batch: int, micro_batches: int) -> PartCosts:
        """The costs of the network's parts. Raises CostmodelError if the step cannot be priced at all."""
        key = batch, micro_batches
        if key not in self.known_costs:
            network, asked = request(self.network, self.frozen, batch, accumulate=micro_batches, **self.asked)
            analyze(network, asked)
            pace = self.limit.pace(asked)
            self.known_costs[key] = PartCosts(self.network, asked, self.checkpoint, pace, self.forms)
        return self.known_costs[key]

    def search(self, costs: PartCosts, budget: int, most_work: int | None, value: Value) -> Search:
        """The search for choices of parts within a budget."""
        idle = (extra for _, _, extra in costs.graph.idle_buffers)
        stays = resident(costs.graph.parameters.values(), idle, costs.request)
        fixed = stays.parameters + stays.buffers
        trained = with_loss(costs.graph, costs.request.loss)
        fixed += inputs_bytes(costs.shapes[0], costs.network.inputs, costs.request)
        fixed += targets_bytes(trained, shapes_of(trained, costs.shapes[0]), costs.request)
        return Search(costs, value, budget, fixed, most_work, self.contiguous)

    def searched(self, batch: int, micro_batches: int) -> Found | None:
        """The best choice of parts, None if nothing fits. The exact estimate is checked against the search's sums."""
        costs = self.costs(batch, micro_batches)
        found = self.search(costs, self.budget, self.limit.most, self.value).best()
        if found is None:
            return None
        strategy = str(of_code(found.code))
        exact = self.estimate(strategy, batch, micro_batches)
        off = abs(self.limit.work(exact) - found.work)
        if exact.peak_bytes > self.budget or off > self.limit.rounding * len(costs.units):
            raise CostmodelError(
                f"{self.network.name}: its parts do not add up to the whole ({strategy} peaks at"
                f" {exact.peak_bytes} bytes), so that no plan can be put together from them"
            )
        return found._replace(code=strategy)

    def least(self, batch: int, micro_batches: int, frozen: Estimate) -> Estimate:
        """The plan with the lowest peak: a choice of parts, found by bisection, or a named strategy.

        frozen: the estimate with all parts frozen.
        """
        low, high, best = 0, frozen.peak_bytes, self.frozen
        while high - low > 1:
            middle = (low + high) // 2
            found = self.search(self.costs(batch, micro_batches), middle, None, lambda *_: 0.0).any()
            if found is None:
                low = middle
            else:
                high, best = middle, of_code(found.code)
        named = [exact for _, exact in self.named_estimates(batch, micro_batches) if not self.limit.exceeds(exact)]
        return min([self.estimate(best, batch, micro_batches), *named], key=lambda exact: int(exact.peak_bytes))

    def value(self, names: Sequence[str], code: str, cost: PartCost) -> float:
        """The value of a unit's choices, for the search. names: of its parts. code: their letters."""
        if self.maximised == "parameters":
            return cost.parameters
        blocks = self.network.graph.blocks
        trained = [(name, choice.training) for name, choice in zip(names, choices_of(code))
                   if choice is not FROZEN and name in blocks]  # fmt: skip
        if self.maximised == "blocks":
            return len(trained)
        return sum(self.values[name][choice] for name, choice in trained)

    def value_of(self, exact: Estimate) -> float | None:
        """The value of a named strategy; None if it is not defined (for values given by choice)."""
        if self.maximised == "parameters":
            return exact.trainable_parameters
        if self.maximised == "blocks":
            return exact.trained_blocks
        return None

    def named(self, batch: int, micro_batches: int) -> list[Found]:
        """The named strategies that fit, without those that equal some choice of parts."""
        found = []
        for name, exact in self.named_estimates(batch, micro_batches):
            if exact.peak_bytes <= self.budget and not self.limit.exceeds(exact):
                value = self.value_of(exact)
                found += [] if value is None else [Found(name, value, self.limit.work(exact))]
        return found

    def named_estimates(self, batch: int, micro_batches: int) -> Iterator[tuple[str, Estimate]]:
        """(name, estimate) of the named strategies that are candidates, whether or not they fit."""
        for strategy in () if self.contiguous else possible(self.network.graph):
            if is_expressed(strategy) or not strategy.trains:
                continue
            try:
                yield strategy.name, self.estimate(strategy.name, batch, micro_batches)
            except CostmodelError:
                continue


def described(choice: str, again: bool) -> dict[str, Any]:
    """What a choice for a part means: what trains, what is made again in the backward pass, and whether all runs again.

    choice: its name, "" if there was none.
    """
    found = named(choice) if choice else None
    level = (found.recompute if found else "") or WITHIN_PARTS
    form = found.form if found else ""
    return {"trains": found.training if found else "", "form": form, "recompute": level, "runs_again": again}


def is_expressed(strategy: Strategy) -> bool:
    """Whether a named strategy is no candidate: it equals some choice of parts, or is the module's own flags."""
    return strategy.takes_blocks or strategy.of_modules or strategy.name in (*TRAINING, "last")
