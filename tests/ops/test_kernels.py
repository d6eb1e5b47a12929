"""What the allocator does in a step of one op: as its rule says, or at least that where the op says it has no rule."""

import math
import random

import pytest
import torch
from onestep import VIEWS, measured, said
from opcases import EXAMPLES, WITHOUT_BACKWARD, demands, differentiated, name_of
from real import seldom

import costmodel
from costmodel.errors import CostmodelError
from costmodel.graph.op import OPS
from costmodel.ops.activation import PReLU
from costmodel.ops.arithmetic import Addcmul
from costmodel.ops.attention import Attention
from costmodel.ops.conv import Conv1d, Conv2d
from costmodel.ops.layout import Pad
from costmodel.ops.norm import BatchNorm, GroupNorm
from costmodel.ops.reduce import Sum
from costmodel.ops.resize import Interpolate
from costmodel.ops.standardise import Standardise
from costmodel.step.scratch import scratch_of, tensors_of
from costmodel.targets import parse
from costmodel.targets.machine import OLDER
from costmodel.targets.onednn_facts import Facts
from costmodel.targets.onednn_limits import bounded, within
from costmodel.targets.setting import Setting

#: Ops that are no layers of a step, and layers whose module runs otherwise outside a network.
NOT_ALONE = (*WITHOUT_BACKWARD, "cross_entropy", "packed_dropout", "input", "targets")
#: torch ends the process in the backward pass of such a norm whose input needs no gradient, in channels_last.
CRASH = ("group_norm", "lean_group_norm")
#: No rule holds for these in channels_last, in which torch takes no weight of five axes, and no map in nll's backward.
NEVER_LAST = ("attention", "conv3d", "nll")
ALONE = [example for example in EXAMPLES if example[0].kind not in NOT_ALONE]
#: These are traced with inputs in the order that they need.
REGULAR = ("group_norm", "lean_group_norm", "linear", "linear_by", "attention", "flatten", "reshape", "nll", "matmul",
           "weight_norm")  # fmt: skip


def here(more=""):
    """This machine as a target."""
    return f"cpu,threads={torch.get_num_threads()}{more}"


def hold(op, shapes, wants, trains, target, **more):
    """A step of an op allocates what is said; at least that if a rule is missing. Returns whether none is."""
    op, channels_last = op.trained(trains), "channels_last" in target
    predicted, missing = said(op, shapes, wants, trains, target, **more)
    real = measured(op, shapes, wants, trains, channels_last, **more)
    case = (op, shapes, sorted(wants), sorted(trains), more)
    if missing:
        assert predicted[0] <= real[0] and predicted[1] <= real[1], case
    else:
        assert predicted == real, case
    return not missing


@pytest.mark.parametrize(
    "pixels", [(1, 1), (3, 3), (1023, 1), (32, 32), (45, 45), (2047, 1), (32, 64), (46, 46)], ids=str
)
@pytest.mark.parametrize("groups, channels", [(2, 8), (3, 6)])
def test_threads_share_large_maps_of_a_group_norm(groups, channels, pixels):
    """Forward from 1,024 pixels on, backward from 2,048 on."""
    norm, target = GroupNorm(groups, channels), here(",channels_last")
    held = hold(norm, [(3, channels, *pixels)], {"x"}, {"weight", "bias"}, target)
    assert held == parse(target).is_modelled


@pytest.mark.parametrize("op, shapes", ALONE, ids=name_of)
def test_kernels_allocate_what_is_said(op, shapes):
    for wants, trains in demands(op):
        hold(op, shapes, wants, trains, here())


#: torch has no such kernels in 16 bits.
IN_16_BITS = [one for one in ALONE if not getattr(one[0], "antialias", False) and one[0].kind != "avg_pool3d"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("op, shapes", IN_16_BITS, ids=name_of)
def test_kernels_of_16_bits_allocate_what_is_said(op, shapes, dtype):
    for wants, trains in demands(op):
        hold(op, shapes, wants, trains, here(), dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("op, shapes", [one for one in ALONE if one[0].kind not in NEVER_LAST], ids=name_of)
def test_kernels_of_channels_last_allocate_what_is_said(op, shapes):
    for wants, trains in demands(op):
        if not (op.kind in CRASH and trains and not wants):
            hold(op, shapes, wants, trains, here(",channels_last"))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("op, shapes", [one for one in ALONE if len(one[0].shape(*one[1])) > 1], ids=name_of)
def test_kernels_copy_an_expanded_gradient_as_said(op, shapes):
    """Sum gives a gradient that repeats its elements, which some kernels copy first."""
    wants = differentiated(op)
    hold(op, shapes, wants, frozenset(), here(), after=Sum(tuple(range(1, len(op.shape(*shapes))))))


#: Ops of maps, some of which a graph has only where their inputs are regular.
OF_MAPS = [
    one for one in ALONE
    if one[0].kind not in REGULAR and len(one[1][0]) == 4 and not getattr(one[0], "inplace", False)
]  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("op, shapes", OF_MAPS, ids=name_of)
@pytest.mark.parametrize("view", ["transposed", "moved", *seldom(*VIEWS.keys() - {"transposed", "moved"})])
def test_kernels_copy_a_view_as_said(op, shapes, view):
    hold(op, shapes, differentiated(op), frozenset(), here(), view=VIEWS[view])


@pytest.mark.slow
@pytest.mark.parametrize("op, shapes", [one for one in OF_MAPS if one[0].kind not in NEVER_LAST], ids=name_of)
@pytest.mark.parametrize("view", VIEWS)
def test_kernels_copy_a_view_of_channels_last_as_said(op, shapes, view):
    if op.kind not in CRASH:
        hold(op, shapes, differentiated(op), frozenset(), here(",channels_last"), view=VIEWS[view])


def resized(op, shapes, generator):
    """The inputs of an op with another batch and maps of other sides; None if it does not take them."""
    n, sides = generator.choice([1, 2, 3, 8, 17]), [generator.choice([1, 2, 5, 7, 8, 14, 17, 28, 33]) for _ in range(2)]
    found = []
    for name, shape in zip(op.inputs, shapes):
        is_batch = shape[:1] == shapes[0][:1] or name in op.shape_only
        other = [n if is_batch else shape[0], *shape[1:]] if shape else []
        for axis in (2, 3) if len(shape) == len(shapes[0]) == 4 else ():
            other[axis] = 1 if shape[axis] == 1 else sides[axis - 2]
        found.append(tuple(other))
    try:
        op.shape(*found)
    except CostmodelError:
        return None
    return found if sum(map(math.prod, found)) < 10**6 else None


@pytest.mark.one_in(2)
@pytest.mark.parametrize("more", ["", ",channels_last"])
@pytest.mark.parametrize("seed", [0, *seldom(*range(1, 40))])
def test_kernels_allocate_what_is_said_at_other_sizes(seed, more):
    generator, held = random.Random(seed), 0
    for op, shapes in ALONE[seed % 4 :: 4]:
        others = resized(op, shapes, generator)
        if others is None or more and op.kind in NEVER_LAST or "conv" in op.kind:
            continue
        for wants, trains in demands(op):
            if more and op.kind in CRASH and trains and not wants:
                continue
            held += hold(op, others, wants, trains, here(more))
    assert held


def test_a_peak_worked_out_by_hand():
    """Bytes of the step of a single op: the leaves, the op's own, the loss and its gradient, 4 each."""
    n, cpu = 4 * 2 * 8 * 5 * 3, here()
    x = (2, 8, 5, 3)
    # PReLU: x, the loss twice, the incoming gradient, both gradients as large as x; then the weight's own 8 sums.
    assert said(PReLU(8), [x], {"x"}, {"weight"}, cpu)[0] == (2 * n + 4, 4 * n + 8 + 8 * 4)
    # Addcmul: b and c are kept, g is passed on to a; b's gradient is made beside c * 1.
    assert said(Addcmul(), [x, x, x], {"a", "b"}, set(), cpu)[0][1] == n + n + n + n + 8
    # Attention makes three gradients for one; queries, keys, values, result and 2 * 3 * 5 logarithms are kept.
    q = (2, 3, 5, 4)
    one, none = (said(Attention(), [q] * 3, {"q"}, set(), "none")[0][1] for _ in range(2))
    assert one == none == 4 * 480 + 120 + 480 + 3 * 480 + 8
    # Nearest: channels_last copies of the map and the result, up to 128 rows and columns; then tables of 12 bytes.
    assert said(Interpolate((64, 64)), [(1, 4, 5, 5)], set(), set(), cpu)[0][0] == 2 * (400 + 4 * 4 * 64 * 64)
    assert said(Interpolate((65, 64)), [(1, 4, 5, 5)], set(), set(), cpu)[0][0] == 400 + 16 * 65 * 64 + 12 * 129
    # A norm without statistics allocates its map's gradient twice, as a batch norm does.
    mine = said(Standardise(), [x], {"x"}, set(), cpu)[0][1]
    assert mine == said(BatchNorm(8, affine=False), [x], {"x"}, set(), cpu)[0][1]
    # Circular padding: a copy of the padded map's gradient beside it.
    padded = 4 * 2 * 8 * 7 * 5
    assert said(Pad((1, 1, 1, 1), mode="circular"), [x], {"x"}, set(), cpu)[0][1] == 2 * padded + n + 8


def test_a_strided_product_reads_every_pixel_where_the_stride_does_not_divide_the_map():
    """3 -> 1 channels, stride 3, at 17 px: 2 images x 3 x 17 x 17 are read in place; 6 x 6 outputs in 8 channels."""
    conv, x = Conv2d(3, 1, 1, stride=3), (2, 3, 17, 17)
    outputs, weights = 4 * 2 * 6 * 6, 4 * 3 * 8
    found = conv.scratch(_setting("cpu,threads=2,isa=avx2"), conv.shape(x), x).forward
    assert found == max(weights + 8 * outputs - outputs, 8 * outputs)


def _setting(target):
    return Setting(parse(target), 4, True, ("weight",))


def writes_beyond(conv):
    """Whether torch 2.13's kernel of the weight gradient writes outside its memory, and may end the process.

    Strided products in channels_last do whose inputs are no multiple of 16.
    """
    return conv.kernel == (1, 1) and conv.stride != (1, 1) and conv.in_channels % 16 > 0


def drawn(generator):
    """A random convolution and an input."""
    while True:
        groups = generator.choice([1, 1, 1, 2, 4, 0])
        c, k = (generator.choice([1, 3, 8, 12, 16, 24, 40, 48, 64, 320, 512]) for _ in range(2))
        groups, k = (c, c) if groups == 0 else (groups, k)
        kernel, stride = generator.choice([1, 3, 3, 4, 5, 7, 9]), generator.choice([1, 1, 2, 3])
        padding, dilation = generator.choice([0, kernel // 2, 1]), generator.choice([1, 1, 1, 2])
        n, side, other = generator.choice([1, 2, 3]), *(generator.choice([1, 2, 4, 7, 9, 14, 17, 35]) for _ in range(2))
        one_axis = generator.random() < 0.2
        shape = (n, c, side * 3) if one_axis else (n, c, side, generator.choice([side, other]))
        if c * k * kernel**2 > 1e6 and groups == 1:
            continue
        try:
            layer, bias = Conv1d if one_axis else Conv2d, generator.random() < 0.5
            op = layer(c, k, kernel, stride, padding, dilation, groups, bias)
            op.shape(shape)
        except CostmodelError:
            continue
        return op, shape


SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 40))]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("threads", [1, 2, *seldom(4)])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_convolutions_allocate_what_is_said_or_say_that_it_is_not_modelled(seed, threads):
    generator, modelled, before = random.Random(seed), 0, torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for i in range(10):
            op, shape = drawn(generator)
            more, last = frozenset(op.params()), i % 3 == 2 and len(shape) == 4 and not writes_beyond(op)
            for wants, trains in ((frozenset("x"), more), (frozenset("x"), frozenset()), (frozenset(), more)):
                modelled += hold(op, [shape], wants, trains, here(",channels_last" if last else ""))
    finally:
        torch.set_num_threads(before)
    assert modelled or parse(here()).isa == OLDER


@pytest.mark.parametrize("seed", [0, *seldom(*range(1, 12))])
@pytest.mark.parametrize("threads", [1, 2, *seldom(4)])
def test_depthwise_convolutions_of_channels_last_maps_without_gradients_are_known_at_every_size(threads, seed):
    generator, before = random.Random(seed), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for _ in range(12):
            kernel, side = generator.randint(2, 7), generator.choice([1, 2, 3, 4, 5, 7, 9, 14, 33])
            channels = generator.choice([generator.randint(2, 70), 8 * generator.randint(1, 190)])
            shape = (generator.choice([1, 2, 5]), channels, side, generator.choice([side, side, 1, 2, 3, 14]))
            padding, bias = generator.randint(0, kernel // 2), generator.random() < 0.5
            if min(shape[2:]) + 2 * padding < kernel:
                continue
            op = Conv2d(channels, channels, kernel, generator.choice([1, 2]), padding, groups=channels, bias=bias)
            known = hold(op, [shape], frozenset(), frozenset(), here(",channels_last"))
            # Of one pixel a map may be taken for contiguous.
            assert known == (shape[2] * shape[3] > 1) or parse(here()).isa == OLDER
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kernel, stride, shape", [
    (2, 2, (4, 4, 3, 2)), (3, 3, (2, 16, 5, 3)), ((4, 4), (1, 4), (4, 8, 6, 4)), (2, 2, (4, 4, 3, 3)),
    (3, 1, (2, 16, 5, 3)),
])  # fmt: skip
def test_a_window_as_wide_as_a_map_of_channels_last_has_no_rule_where_it_takes_whole_lines(kernel, stride, shape):
    op = Conv2d(shape[1], 16, kernel, stride, bias=True)
    hold(op, [shape], frozenset(), frozenset(), here(",channels_last"))
    whole = shape[3] == op.kernel[1] == op.stride[1]
    setting = Setting(parse("cpu,threads=1,isa=avx512,channels_last"), 4, False, ())
    assert bool(op.modelled(setting, op.shape(shape), shape)) != whole and op.bounded(setting, op.shape(shape), shape)


def test_an_estimate_says_which_kernels_have_no_rule():
    halves = costmodel.estimate("mobilenet_v3_small", dtype="bfloat16", target="cpu,threads=1,isa=avx512")
    alone = costmodel.estimate("mobilenet_v3_small", dtype="bfloat16", target="none,threads=1")
    assert halves.certainty.step_peak == "not_modelled" and halves.certainty.saved == "rule"
    assert alone.step_peak_bytes <= halves.step_peak_bytes and alone.certainty.step_peak == "rule"
    (note,) = halves.notes
    assert "features.0.0 (conv2d)" in note and " more." in note
    assert halves.to_dict()["notes"] == [note] and alone.notes == ()
    whole = costmodel.estimate("mobilenet_v3_small", target="cpu,threads=1,isa=avx512")
    assert whole.certainty.step_peak == "rule" and whole.unmodelled == () == whole.notes


def test_every_op_says_whether_it_is_modelled():
    for op, shapes in EXAMPLES:
        assert op.modelled(_setting("cpu,threads=1"), op.shape(*shapes), *shapes) in (True, False)
    assert {op.kind for op, _ in EXAMPLES} <= OPS.keys()


def test_the_rules_say_the_least_where_kernels_pad_further():
    """40 channels of the gradient of a strided convolution are padded to 48, at times to 64; 32 to 32."""
    setting = _setting("cpu,threads=1,isa=avx512")._replace(demanded=("x", "weight"))
    for channels, exact in ((40, False), (32, True)):
        conv = Conv2d(channels, 8, 3, stride=2, padding=1)
        x, y = (2, channels, 9, 9), (2, 8, 5, 5)
        facts = Facts(conv, setting, 16)
        assert bounded(facts, y, x) and within(facts, y, x) == exact
        assert scratch_of(conv, setting, y, x) == conv.scratch(setting, y, x)
    wide = Conv2d(8, 8, 9)
    tensors = setting._replace(target=tensors_of(setting.target))
    assert scratch_of(wide, setting, (2, 8, 5, 5), (2, 8, 13, 13)) == wide.scratch(
        tensors, (2, 8, 5, 5), (2, 8, 13, 13)
    )
