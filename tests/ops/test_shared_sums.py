"""Sums that threads share: each keeps a number of its own beside the result, if that is one number."""

import pytest
import torch
from opcases import demands
from real import seldom
from test_kernels import CRASH, here, hold

from costmodel.ops.activation import PReLU
from costmodel.ops.arithmetic import Add, Addcmul, Div, Mul, Sub
from costmodel.ops.class_loss import NegativeLogLikelihood
from costmodel.ops.extreme import Amax, Amin, Maximum
from costmodel.ops.linear import Linear
from costmodel.ops.norm import BatchNorm, GroupNorm
from costmodel.ops.reduce import Deviation, Mean, Sum, Variance, VectorNorm
from costmodel.ops.value_loss import BinaryCrossEntropy, Huber, MeanSquaredError, OfOneProbability, SmoothL1
from costmodel.targets import parse
from costmodel.targets.setting import SHARED, Setting

MAP, ALL, NUMBER = (2, 1, 150, 150), (0, 1, 2, 3), (1,)  # 45,000 numbers
CASES = [
    *((op, MAP) for op in (Sum(ALL), Sum((0, 2, 3)), Mean(ALL), VectorNorm(ALL), Variance(ALL), Deviation(ALL))),
    *(
        (op, MAP)
        for op in (Amax(ALL), Amin(ALL, True), PReLU(1), BatchNorm(1), BatchNorm(1, "frozen"), GroupNorm(1, 1))
    ),
    *((op, (1, 1, 200, 200)) for op in (Sum((2, 3), True), Mean((2, 3)), Variance((2, 3), 0, True))),
    *((op, MAP, NUMBER) for op in (Add(), Mul(), Sub(), Div(), Maximum())),
    *((op, NUMBER, MAP) for op in (Add(), Mul())),
    (Addcmul(), NUMBER, NUMBER, MAP),
    (Addcmul(), MAP, MAP, NUMBER),
    (Linear(6, 1), (40000, 6)),
    (Linear(6, 1), (2, 20000, 6)),
    *((NegativeLogLikelihood(way), (2, 3, 150, 150), (2, 150, 150)) for way in ("mean", "sum")),
    *(
        (loss(way), MAP, MAP)
        for loss in (MeanSquaredError, SmoothL1, Huber, BinaryCrossEntropy, OfOneProbability)
        for way in ("mean", "sum", "none")
    ),
    *((op, (2, 1, 5, 5)) for op in (Sum(ALL), Variance(ALL), Deviation(ALL, 0, True), Amax(ALL))),  # too few to share
]


@pytest.fixture(params=[1, 2, 4])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float32", *seldom("bfloat16")])
@pytest.mark.parametrize("op, shapes", [(op, shapes) for op, *shapes in CASES], ids=str)
def test_threads_keep_numbers_of_their_own(op, shapes, dtype, threads):
    for more in ("", ",channels_last") if len(shapes[0]) == 4 and op.kind != "nll" else ("",):
        for wants, trains in demands(op):
            if not (more and op.kind in CRASH and trains and not wants):
                hold(op, shapes, wants, trains, here(more), dtype=dtype)


def test_what_a_shared_sum_takes():
    """A number of four bytes for each of four threads, from 32,768 numbers on that make one."""
    setting = Setting(parse("cpu,threads=4,isa=avx2"), 4, True, ())
    assert setting.shared_sum((SHARED,)) == 4 * 4 and setting.shared_sum((SHARED - 1,)) == 0
    assert setting.shared_sum((2, SHARED), summed=2) == 0 and setting.shared_sum((SHARED,), item=8) == 4 * 8
    assert setting._replace(target=parse("cpu,threads=1,isa=avx2")).shared_sum((SHARED,)) == 0
    assert setting._replace(target=parse("none,threads=4")).shared_sum((SHARED,)) == 0
