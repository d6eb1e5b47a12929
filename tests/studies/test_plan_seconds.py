"""Plans within seconds of a device: the best choice equals brute force."""

from itertools import product

import pytest
from tiny import tiny_network

import costmodel
from costmodel.devices import find_device
from costmodel.errors import CostmodelError
from costmodel.step.passes import passes_of, update_of
from costmodel.step.seconds import nanoseconds
from costmodel.strategies import parts
from costmodel.studies.plan.limit import Limit
from costmodel.studies.plan.nothing_fits import NothingFits
from costmodel.studies.plan.plan import plan
from costmodel.studies.plan.within import plan_within

ROWS = [
    "- {out: 8, repeat: 1, stride: 1, expand: 1, kernel: 3}",
    "- {kind: conv, out: 16, repeat: 1, stride: 2, kernel: 3}",
]
PI = find_device("raspberry_pi_4b")
BIG = 10**9  # bytes


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_network(tmp_path_factory.mktemp("specs"), ROWS)


def codes(network):
    """Every choice of parts without second runs."""
    choices = [[c for c in part.choices() if c.islower() and c != "k"] for part in parts(network.graph)]
    return map("".join, product(*choices))


def everything(network, **request):
    """(value, nanoseconds, peak) of every choice of parts without second runs."""
    found = []
    for code in codes(network):
        one = costmodel.estimate(network, f"plan:{code}", 4, device=PI, **request)
        found.append((one.trainable_parameters, round(1e9 * one.seconds), one.peak_bytes))
    return found


@pytest.mark.one_in(2)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_plan_within_seconds_equals_brute_force(tiny, optimizer):
    costs = everything(tiny, optimizer=optimizer)
    asked = {"batch": 4, "optimizer": optimizer, "device": PI, "checkpoint": False}
    times, peaks = (sorted({one[column] for one in costs}) for column in (1, 2))
    assert len(times) > 20
    before = 0
    for most in [*times[:: len(times) // 6], times[-1] + 10]:
        for budget in (peaks[len(peaks) // 2], BIG):
            fitting = [value for value, work, peak in costs if work <= most - 10 and peak <= budget]
            limit = most / 1e9
            if not fitting:
                continue
            best = plan(tiny, budget, max_seconds=limit, **asked)
            assert best.estimate.seconds <= limit and best.estimate.peak_bytes <= budget
            assert best.value >= max(fitting)  # what is within 10 ns of the limit may be on either side by rounding
            reached = [value for value, work, peak in costs if work <= most + 10 and peak <= budget]
            assert best.value <= max(reached + [best.value if best.strategy in ("norm+last",) else 0])
            before = max(before, best.value)
    assert before == max(value for value, _, _ in costs)


def test_micro_steps_share_one_update(tiny):
    """A step of n micro-steps takes n of them and one update; the plan is the best over all n and choices of parts."""
    budget = costmodel.estimate(tiny, "full", 4, optimizer="adam").peak_bytes  # less than 8 images take
    costs = []
    for batch, code in product((8, 4, 2, 1), codes(tiny)):
        one = costmodel.estimate(tiny, f"plan:{code}", batch, device=PI, accumulate=8 // batch, optimizer="adam")
        if one.peak_bytes <= budget:
            seconds = 8 // batch * (one.seconds - one.time.update) + one.time.update
            costs.append((one.trainable_parameters, seconds))
    times = sorted(seconds for _, seconds in costs)
    asked = {"effective_batch": 8, "optimizer": "adam", "device": PI, "checkpoint": False}
    counts = set()
    for limit in times[:: len(times) // 12]:
        best = plan(tiny, budget, max_seconds=limit + 1e-8, **asked)
        one = best.estimate
        assert best.micro_batches * (one.seconds - one.time.update) + one.time.update <= limit + 1e-8
        within = [value for value, seconds in costs if seconds <= limit]
        assert best.value >= max(within)
        counts.add(best.micro_batches)
    assert len(counts) > 1


def test_parts_add_up_to_the_whole(tiny):
    """The planner itself holds them against each other: no plan is made if they do not add up."""
    for convention in ("torch", "lean"):
        best = plan(tiny, BIG, batch=4, convention=convention, device=PI, max_seconds=1e3)
        one = best.estimate
        assert nanoseconds(one.passes, one.request.pace) == round(1e9 * one.seconds)
        assert one.passes == passes_of(one.graph, one.shapes, one.request)
        assert one.passes[-1:] == update_of(one.trainable_parameters, one.request)


def test_nothing_is_quick_enough(tiny):
    with pytest.raises(NothingFits, match="takes at most 1 us: with the classifier alone trained it takes"):
        plan(tiny, BIG, batch=4, device=PI, max_seconds=1e-6)
    with pytest.raises(NothingFits, match="takes at most 7 FLOPs"):
        plan(tiny, BIG, batch=4, max_flops=7)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"max_seconds": 1.0, "max_flops": 10, "device": PI}, "allowed: one of the two"),
        ({"max_seconds": 1.0}, "no steps were measured there"),
        ({"max_seconds": 1.0, "device": "jetson_nano"}, "no steps were measured there"),
        ({"max_seconds": 0, "device": PI}, "allowed: a number > 0"),
        ({"max_seconds": True, "device": PI}, "allowed: a number > 0"),
        ({"max_seconds": float("nan"), "device": PI}, "allowed: a number > 0"),
    ],
)
def test_bad_limits(tiny, asked, said):
    with pytest.raises(CostmodelError, match=said):
        plan(tiny, BIG, batch=4, **asked)


def test_a_plan_whose_need_is_more_than_its_peak(tiny):
    whole = plan(tiny, BIG, batch=4, device=PI).estimate.peak_bytes

    def need(found):
        return 2 * int(found.peak_bytes) + 1000

    found = plan_within(2 * whole, need, network=tiny, batch=4, device=PI)
    assert need(found.estimate) <= 2 * whole and found.value > 0
    with pytest.raises(NothingFits):
        plan_within(2000, need, network=tiny, batch=4, device=PI)
    assert Limit.of(5, None).in_words(5) == "5 FLOPs" and Limit().most is None
