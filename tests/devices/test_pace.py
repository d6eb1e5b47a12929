"""The seconds of a pass: exact arithmetic."""

import pytest

from costmodel.devices.kinds import KINDS, PASSES
from costmodel.devices.pace import Pace
from costmodel.graph.op import OPS
from costmodel.step.passes import Pass

PACE = Pace(
    1e9, 1e8, overhead=0.25, python_overhead=0.5, cold=1e9,
    factors={"convolution": 2.0, "depthwise.weight": 7.0, "activation": 3.0}, passes={"forward": 0.5},
)  # fmt: skip


def test_a_pass_takes_as_long_as_the_slower_of_arithmetic_and_bytes():
    # 2 * 2e9 / 1e9 = 4 s against 1e8 / 1e8 = 1 s; times 2 * 0.5; 0.25 s besides, and 1e8 / 1e9 s for cold bytes
    assert PACE.seconds_of(Pass(0, "forward", "convolution", 2 * 10**9, 10**8)) == 4 + 0.25 + 0.1
    # 1e9 bytes take 10 s; the kind 3, the pass has no factor; a function in Python 0.5 s more
    assert PACE.seconds_of(Pass(0, "backward", "activation", 0, 10**9, True)) == 30 + 0.25 + 0.5 + 1


@pytest.mark.parametrize(
    ("kind", "name", "factor"),
    [
        ("convolution", "forward", 1.0),  # of the kind and of the pass
        ("convolution", "weight", 2.0),
        ("depthwise", "weight", 7.0),  # exactly this
        ("wide_depthwise", "weight", 7.0),  # its next of kin
        ("depthwise", "forward", 1.0),  # a convolution
        ("sum", "backward", 3.0),
        ("max_pool", "forward", 1.5),
        ("batch_norm", "backward", 1.0),  # nothing is known of it
    ],
)
def test_a_factor_is_that_of_the_next_of_kin(kind, name, factor):
    assert PACE.factor(kind, name) == factor


def test_kinds_end_somewhere():
    for kind in KINDS:
        seen = [kind]
        while KINDS[seen[-1]]:
            seen.append(KINDS[seen[-1]])
        assert seen[-1] in ("convolution", "batch_norm", "activation") and len(set(seen)) == len(seen)
    assert PASSES == ("forward", "input", "weight", "backward", "again", "update")


@pytest.mark.parametrize("kind", sorted(OPS))
def test_every_op_names_kinds_that_there_are(kind):
    for op, *_ in OPS[kind].examples:
        assert set(op.timed_as) <= KINDS.keys()
