"""How long a plan for MobileNetV2 takes, each time from a graph that was never priced before, beside plain Python."""

from itertools import count

import pytest
from pace import fastest, plain_python

import costmodel
from costmodel.studies.plan.plan import plan


@pytest.mark.parametrize("convention, most", [("torch", 500), ("lean", 1000)])
@pytest.mark.parametrize("budget", [128_000_000, 256_000_000])
def test_a_plan_beside_plain_python(benchmark, convention, most, budget):
    classes = count(900)

    def fresh():
        return plan(costmodel.load("mobilenet_v2", classes=next(classes)), budget, convention=convention)

    assert benchmark.pedantic(fresh, rounds=1).estimate.peak_bytes <= budget
    planned, python = fastest(fresh, plain_python, rounds=3)
    benchmark.extra_info.update({"processor seconds": planned, "of plain_python": planned / python})
    # Seen: up to 175, which is 0.8 s; of lean modules 600, which is 2.7 s, two thirds of it without chains.
    assert planned <= most * python
