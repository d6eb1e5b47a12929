"""What each op says of autocast, against torch."""

import pytest
import torch
from opcases import EXAMPLES, input_of, name_of

from costmodel.graph.op import Casts, Result, build
from costmodel.ops._cast import Cast, Given
from costmodel.ops.mask import MASK
from costmodel.pytorch import library

STOCK = [
    (op, shapes)
    for op, shapes in EXAMPLES
    if not type(op).__module__.endswith(("lean", "lean_folded")) and op.result is not Result.GIVEN
]
LAYERS = [(op, shapes) for op, shapes in STOCK if op.casts is Casts.LOWER and op.params()]
KINDS = (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("op, shapes", STOCK, ids=name_of)
@pytest.mark.filterwarnings("ignore:Mismatch dtype")
def test_an_output_has_the_data_type_that_the_casts_give(op, shapes):
    layer = op.module(library)
    for kind in KINDS[: 1 if getattr(op, "antialias", False) else 2]:  # torch has no 16-bit kernel for it
        inputs = [input_of(op, name, shape, kind) for name, shape in zip(op.inputs, shapes)]
        with torch.autocast("cpu", torch.bfloat16):
            made = layer(*inputs)
        fractions = kind if any(x.is_floating_point() for x in inputs) else torch.float32
        lower = dict.fromkeys((Casts.LOWER, Casts.INSIDE), torch.bfloat16)
        casts = {**lower, Casts.FULL: torch.float32}.get(op.casts, fractions)
        assert made.dtype is {MASK: torch.bool, 64: torch.int64}.get(op.bits, casts)


@pytest.mark.parametrize("op", [build("add", {}), build("sub", {}), build("mul", {}), build("div", {})], ids=name_of)
def test_an_op_that_promotes_gives_float32(op):
    assert op.promotes
    wide, narrow = torch.rand(2, 3, requires_grad=True), torch.rand(2, 3).bfloat16().requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        made = op.module(library)(wide, narrow)
    made.sum().backward()
    assert (made.dtype, wide.grad.dtype, narrow.grad.dtype) == (torch.float32, torch.float32, torch.bfloat16)


@pytest.mark.parametrize("op, shapes", LAYERS, ids=name_of)
def test_a_layer_whose_parameters_are_given_is_the_layer(op, shapes):
    given = Given(op)
    more = tuple(op.params().values())
    assert given.inputs == (*op.inputs, *op.params()) and given.params() == {} and given.given == tuple(op.params())
    assert given.kind == op.kind and given.shape(*shapes, *more) == op.shape(*shapes)
    y = op.shape(*shapes)
    assert given.work(y, *shapes, *more) == op.work(y, *shapes)
    assert given.extras(*shapes, *more) == op.extras(*shapes)
    assert given.needs() == op.needs() and given.torch_needs() == op.torch_needs()
    assert given == Given(op) and hash(given) == hash(Given(op)) and given != op


def test_a_cast_keeps_nothing_and_casts_its_gradient_back():
    cast = Cast("bfloat16")
    assert (cast.bits, Cast("float32").bits) == (16, 32) and cast.needs() == {"x": ()}
    assert cast.shape((2, 3)) == (2, 3) and {work.macs for work in cast.work((2, 3), (2, 3)).values()} == {0}
    x = torch.rand(2, 3, requires_grad=True)
    y = cast.module(library)(x)
    assert y.dtype is torch.bfloat16 and not [name for name in dir(y.grad_fn) if name.startswith("_saved")]
    y.backward(torch.ones(2, 3, dtype=torch.bfloat16))
    assert x.grad.dtype is torch.float32
