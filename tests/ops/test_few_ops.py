"""Ops of one kind of network each, by exact shapes, work and scratch; and which op has a lean form."""

from itertools import permutations
from pathlib import Path

import pytest
import torch

import costmodel.ops
from costmodel.errors import CostmodelError
from costmodel.graph.op import OPS, Result, Work
from costmodel.ops.activation import ReLU
from costmodel.ops.attention import Attention
from costmodel.ops.conv import Conv2d
from costmodel.ops.index import Index, Roll
from costmodel.ops.layout import Cat, Copy, Pad, Repeat
from costmodel.ops.lean import MaskedActivation, Place, ShiftNorm, lean
from costmodel.ops.linear import Linear
from costmodel.ops.matmul import Matmul, Softmax
from costmodel.ops.norm import BatchNorm
from costmodel.targets import parse
from costmodel.targets.memory_order import CHANNELS_LAST, MemoryOrder, around, contiguous
from costmodel.targets.setting import Setting

BARE = Setting(parse("none"), 4, True, ("x",))


def test_importing_the_folder_registers_every_op():
    root = Path(costmodel.ops.__file__).parent
    files = {".".join(path.relative_to(root).with_suffix("").parts) for path in root.rglob("[a-z]*.py")}
    with_ops = {cls.__module__.removeprefix("costmodel.ops.") for cls in OPS.values()}
    assert with_ops == files - {"layers_in_order", "stand_ins"}  # which ask of ops, and stand for many


def test_products():
    y = Matmul().shape((2, 3, 5, 4), (2, 3, 4, 6))
    assert y == (2, 3, 5, 6) and Matmul().work(y, (2, 3, 5, 4), (2, 3, 4, 6))["forward"].macs == 2 * 3 * 5 * 4 * 6
    q = (2, 3, 5, 4)
    assert Attention().shape(q, q, q) == q
    assert Softmax(1).needs() == {"x": ("y",)} and Softmax().shape(q) == q


def test_picking_and_rolling():
    assert Index(1).shape((4, 9), (5, 5)) == (4, 5, 5) and Index(1).shape_only == ("at",)
    assert Roll((1,), (1,)).scratch(BARE, (2, 5, 4), (2, 5, 4)).forward == 0
    cpu, shape = BARE._replace(target=parse("cpu,threads=1")), (2, 5, 4)
    assert Roll((1, 2), (1, 2)).scratch(cpu, shape, shape).backward == 4 * 40  # inside the op: no tensor of its own
    assert Roll((1, 2), (1, 2)).scratch(BARE, shape, shape).backward == 0
    with pytest.raises(CostmodelError, match="as many of the one as of the other"):
        Roll((1, 2), (1,))


def test_what_moves_maps():
    assert Cat(2).shape((2, 3, 4, 5), (2, 6, 4, 5)) == (2, 9, 4, 5)
    assert Pad((0, 1, 0, 1)).shape((2, 3, 4, 5)) == (2, 3, 5, 6)
    assert Repeat("2 1 3").shape((3, 4), (2, 5)) == (2, 3, 12)
    assert Copy().layout(4, CHANNELS_LAST) == contiguous(4) and Copy().passes == ("x",)
    assert Copy().work((2, 3), (2, 3)) == {"forward": Work(), "x": Work()}


def test_lean_forms():
    place = Place(("x",), frozenset(), False, False, False, "")
    masked = lean(ReLU(), place)
    assert type(masked) is MaskedActivation and masked.needs() == {"x": ("mask",)}
    assert lean(Linear(3, 4), place) == Linear(3, 4)  # which is lean enough
    conv, prefix = Conv2d(3, 8, 3), place._replace(demanded=())
    assert lean(conv, place).kind == "lean_conv2d" and lean(conv, prefix) == conv
    assert lean(conv, prefix._replace(partner="norm")).norm == "norm"
    shift = lean(BatchNorm(8, "frozen"), place._replace(trains=frozenset({"bias"})))
    assert type(shift) is ShiftNorm and shift.needs()["bias"] == () and shift.result is Result.NEW


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 4, 5), (2, 1, 4, 5)])
@pytest.mark.parametrize("cut", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_a_products_gradient_is_copied_where_its_batch_does_not_lie_together(order, cut, shape):
    """Backward takes a gradient (N, heads, L, M) as (batch, L, M). cut: an axis of which it is a part."""
    whole = [shape[axis] + (axis == cut) for axis in order]
    gradient, layout = torch.empty(whole).permute([order.index(axis) for axis in range(4)]), MemoryOrder(order)
    if cut is not None:
        gradient, layout = gradient.narrow(cut, 0, shape[cut]), around(layout, cut)
    folded = gradient.reshape(-1, *shape[2:])
    copies = folded.untyped_storage().data_ptr() != gradient.untyped_storage().data_ptr()
    assert bool(Matmul().copies_gradient(layout, shape)) == copies
