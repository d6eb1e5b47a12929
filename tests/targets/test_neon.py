"""Scratch of convolutions and linear layers on 64-bit ARM, against the allocator's events under emulation.

torch 2.13.0 for aarch64 (oneDNN 3.12, Arm Compute Library 52.6) on QEMU's Cortex-A76, with 2 and 4 cores when torch was
imported, 1, 2 and 4 threads, in both memory formats: 72 convolutions, and 146 others that were drawn afterwards.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import costmodel
from costmodel.errors import CostmodelError
from costmodel.ops.conv import Conv2d
from costmodel.ops.linear import Linear
from costmodel.sizes.by_batch import Batches
from costmodel.targets import parse
from costmodel.targets.compute_library import depthwise_bytes, linear_bytes, product_bytes
from costmodel.targets.neon import NeonScratch
from costmodel.targets.setting import Setting

MEASURED = json.loads((Path(__file__).parent / "data" / "neon.json").read_text())
DEMANDED = {
    "forward": (), "100": ("x",), "010": ("weight",), "001": ("bias",), "110": ("x", "weight"),
    "111": ("x", "weight", "bias"),
}  # fmt: skip
#: Calls by target, and those of them that are not modelled: products of groups, depthwise kernels that are not square,
#: a single channel in channels_last, and a 7x7 whose columns oneDNN cuts.
CALLS = {
    "cpu,isa=neon,threads=1,cores=2": (290, 12),
    "cpu,isa=neon,threads=2,cores=2": (290, 12),
    "cpu,isa=neon,threads=1,cores=2,channels_last": (290, 12),
    "cpu,isa=neon,threads=1,cores=4": (881, 43),
    "cpu,isa=neon,threads=4,cores=4": (881, 43),
    "cpu,isa=neon,threads=1,cores=4,channels_last": (290, 12),
    "cpu,isa=neon,threads=4,cores=4,channels_last": (290, 12),
    "cpu,isa=neon,threads=2,cores=4,channels_last": (575, 47),
}


def kernels(conv, target, demanded):
    setting = Setting(parse(target), 4, True, demanded)
    found = setting.target.convolution(conv, setting)
    assert isinstance(found, NeonScratch)
    return found


def calls(target):
    """(convolution, input's shape, what is asked for, bytes beyond the results)."""
    for x, out, kernel, stride, padding, groups, bias, dilation, levels, masks in MEASURED[target]:
        conv = Conv2d(x[1], out, tuple(kernel), stride, padding, dilation, groups, bool(bias))
        for mask, level in zip(masks.split(), levels):
            yield conv, tuple(x), mask, level


@pytest.mark.parametrize("target", CALLS)
def test_every_call_that_is_modelled_is_exact(target):
    known, unknown = 0, 0
    for conv, x, mask, level in calls(target):
        found, y = kernels(conv, target, DEMANDED[mask]), conv.shape(x)
        said = found(y, x)[mask != "forward"]
        if found.modelled(y, x):
            assert said == level, (conv, x, mask)
            known += 1
        else:
            assert said <= level or not found.bounded(y, x), (conv, x, mask)
            unknown += 1
    assert (known, unknown) == CALLS[target]


# -- whole steps -------------------------------------------------------------------------------------------

#: (network, width, strategy, convention, batch, resolution, threads and cores) -> the allocator's peak in bytes, as
#: costmodel.pytorch.measure found it under emulation.
STEPS = {
    ("mobilenet_v3_small", 1, "full", "torch", 2, 64, "threads=1,cores=2"): 7_682_080,
    ("mobilenet_v2", 0.35, "full", "torch", 2, 64, "threads=1,cores=2"): 6_452_352,
    ("mobilenet_v2", 0.35, "full", "torch", 2, 64, "threads=2,cores=2"): 10_642_608,
    ("mobilenet_v3_small", 1, "last", "torch", 2, 64, "threads=1,cores=2"): 2_417_200,
    ("mobilenet_v2", 0.35, "bias", "lean", 2, 64, "threads=1,cores=2"): 1_091_440,
    ("mobilenet_v3_small", 1, "mobiletl:3", "lean", 2, 65, "threads=2,cores=2"): 5_660_376,
    ("mobilenet_v2", 0.35, "full", "torch", 2, 64, "threads=1,cores=2,channels_last"): 6_452_544,
    ("mobilenet_v3_small", 1, "full", "torch", 1, 97, "threads=1,cores=2"): 8_482_608,
    ("mobilenet_v3_small", 1, "full", "torch", 2, 64, "threads=4,cores=4"): 12_417_712,
    ("mobilenet_v2", 0.35, "full", "torch", 2, 64, "threads=4,cores=4"): 15_230_128,
    ("mobilenet_v2", 0.35, "bias", "lean", 2, 64, "threads=4,cores=4"): 1_253_376,
    ("mobilenet_v3_small", 1, "mobiletl:3", "lean", 2, 65, "threads=4,cores=4"): 5_935_560,
    ("mobilenet_v2", 0.35, "full", "torch", 2, 64, "threads=4,cores=4,channels_last"): 15_237_424,
    ("mobilenet_v3_small", 1, "full", "torch", 1, 97, "threads=4,cores=4"): 8_971_248,
    ("mobilenet_v3_small", 1, "full,checkpoint=blocks", "torch", 2, 64, "threads=4,cores=4"): 10_618_160,
    ("mobilenet_v3_small", 1, "blocks:3,checkpoint=blocks", "lean", 2, 64, "threads=4,cores=4"): 5_920_528,
    ("mnasnet_b1", 1, "full", "torch", 3, 65, "threads=4,cores=4"): 42_194_352,
    ("mcunet_5fps", 1, "mobiletl:3", "lean", 4, 96, "threads=4,cores=4"): 1_992_416,
    ("mcunet_5fps", 1, "full", "torch", 8, 96, "threads=4,cores=4"): 47_853_424,
    ("mobilenet_v4_conv_small", 1, "full", "torch", 2, 64, "threads=4,cores=4"): 86_299_824,
    ("efficientnet_lite0", 1, "blocks:5", "torch", 2, 64, "threads=4,cores=4"): 29_350_064,
    ("proxyless_mobile", 1, "bias", "lean", 2, 64, "threads=4,cores=4"): 3_375_360,
    ("mobilenet_v3_small", 1, "full", "lean", 2, 64, "threads=4,cores=4,channels_last"): 8_052_750,
}  # fmt: skip


@pytest.mark.parametrize("case", STEPS, ids=str)
def test_whole_steps_are_exact(case):
    name, width, strategy, convention, batch, side, how = case
    network = costmodel.load(name, classes=10, width=None if width == 1 else width)
    as_measured = f"{strategy},recompute=none"
    found = costmodel.estimate(network, as_measured, batch, side, convention, target=f"cpu,isa=neon,{how}")
    assert found.step_peak_bytes == STEPS[case]


#: Likewise of 1,000 classes on four cores; but for mcunet_5fps, which is by the rules alone.
ON_FOUR_CORES = {
    ("mobilenet_v2", "full", "torch", 8, 224): 652_385_576,
    ("mobilenet_v2", "bias", "lean", 8, 224): 122_830_848,
    ("mobilenet_v2", "mobiletl:5,prefix_slices=8", "lean", 8, 224): 38_267_816,
    ("mobilenet_v2", "last,prefix_slices=8", "lean", 8, 224): 8_301_536,
    ("mobilenet_v2", "blocks:3", "torch", 8, 224): 122_028_032,
    ("mobilenet_v2", "full", "torch", 2, 64): 45_751_592,
    ("efficientnet_b0", "norm+last", "torch", 2, 64): 19_820_592,
    ("mcunet_5fps", "full", "torch", 8, 96): 48_490_984,
}


@pytest.mark.parametrize("case", ON_FOUR_CORES, ids=str)
def test_steps_on_a_boards_four_cores(case):
    name, strategy, convention, batch, side = case
    as_measured = f"{strategy},recompute=none"
    found = costmodel.estimate(name, as_measured, batch, side, convention, target="cpu,isa=neon,threads=4")
    assert found.step_peak_bytes == ON_FOUR_CORES[case] and found.certainty.step_peak == "rule"


@pytest.mark.parametrize("target", ["cpu,isa=neon,threads=4", "cpu,isa=neon,threads=2,cores=3,channels_last"])
@pytest.mark.parametrize(
    "strategy, convention", [("full", "torch"), ("bias", "lean"), ("last,prefix_slices=4", "lean")]
)
def test_a_sweep_equals_estimates(target, strategy, convention):
    """Batches around those at which kernels change: few blocks of rows for the cores, a single image, 16 images."""
    batches, sides = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 40], [33, 64, 97]
    grid = costmodel.sweep("mcunet_5fps", strategy, batches, sides, convention, target=target)
    for row in range(len(grid)):
        side, batch = int(grid.resolution[row]), int(grid.batch[row])
        one = costmodel.estimate("mcunet_5fps", strategy, batch, side, convention, target=target)
        assert grid.step_peak_bytes[row] == one.step_peak_bytes, (side, batch)


# -- the arithmetic spelled out ----------------------------------------------------------------------------


def test_a_product_on_few_outputs_copies_its_input():
    """2 images of 12x12, 16 channels, 3x3 windows, to 24 channels, two cores: interleaved, by its estimate.

    Its input has 144 rows of 144 numbers per image; each core has a result of 8 rows of 24 numbers, 768 bytes.
    """
    assert product_bytes(2, 144, 24, 144, 2) == 4 * 144 * 144 * 2 + 2 * 768 + 128 + 4096 == 171_648
    assert product_bytes(2, 144, 96, 16, 2) == 0  # the hybrid kernel
    assert product_bytes(0, 144, 24, 144, 2) >= 0  # of no images


def test_few_rows_leave_cores_a_block_each():
    """A map of 4 pixels is one block of 8 rows: with four cores each copies it."""
    assert product_bytes(1, 4, 20, 900, 4) in (0, 4 * 300 * 8 * 4 + 4 * 768 + 128 + 4096)


def test_buffers_are_rounded_to_lines():
    """529 pixels, windows of 147 numbers: 536 rows are 315,168 bytes, 4924.5 lines of 64."""
    assert product_bytes(1, 529, 24, 147, 4) == 315_200 + 4 * 768 + 128 + 4096


def test_the_interleaved_kernel_is_never_taken_for_wide_outputs():
    """So that its own parts of more than 190,000 bytes of weights need no rule."""
    sizes = np.arange(1, 4000, 13)
    for outputs in (37, 48, 60, 84, 108, 120, 132, 180, 320, 1280):
        for depth in (1, 16, 341, 342, 960, 4608):
            assert not np.any(product_bytes(2, sizes, outputs, depth, 4)), (outputs, depth)


def test_depthwise_tiles():
    """12x12 outputs, 3x3, 24 channels: tiles of 4 leave no remainder, and read 6 rows."""
    each = 48 + 8 * 16 + 8 * 36 + 4 * 24 * (2 + 9 * 15)
    assert depthwise_bytes(24, 3, 1, 12, 12, 12, 2) == 2 * each + 4 * 24 * 10 + 8192
    assert depthwise_bytes(24, 3, 1, 9, 9, 9, 1) < depthwise_bytes(24, 3, 1, 12, 12, 12, 1)  # tiles of 3


def test_what_does_not_depend_on_sizes_alone_takes_arrays():
    n, pixels = np.array([[1, 2, 5, 16, 40]]), np.array([[4], [49], [144]])
    for outputs, depth, cores in ((24, 96, 4), (8, 27, 2), (1280, 320, 4), (20, 341 * 2, 16)):
        found = product_bytes(n, pixels, outputs, depth, cores)
        for i, one in enumerate(pixels[:, 0].tolist()):
            for j, images in enumerate(n[0].tolist()):
                assert np.broadcast_to(found, (3, 5))[i, j] == product_bytes(images, one, outputs, depth, cores)


LINEAR = {  # rows, inputs, outputs -> bytes beside the result, of weights and of a single row
    (2, 64, 10): 3072, (1, 64, 10): 3072 + 384, (8, 1280, 1000): 5_120_000, (1, 1280, 1000): 5_120_000 + 5248,
    (50, 96, 33): 13_824, (8, 7, 3): 112, (3, 1, 4): 16, (3, 5, 1): 0, (16, 576, 1024): 2_359_296,
}  # fmt: skip


@pytest.mark.parametrize("rows, inputs, outputs", LINEAR)
def test_a_linear_layer_copies_its_weights(rows, inputs, outputs):
    assert linear_bytes(rows, inputs, outputs) == LINEAR[rows, inputs, outputs]
    layer = Linear(inputs, outputs)
    setting = Setting(parse("cpu,isa=neon"), 4, True, ("x", "weight", "bias"))
    assert layer.scratch(setting, (rows, outputs), (rows, inputs)).forward == LINEAR[rows, inputs, outputs]
    assert layer.scratch(setting, (rows, outputs), (rows, inputs)).backward == 0


def test_sixteen_bits_are_not_modelled():
    conv, x = Conv2d(8, 16, 3), (2, 8, 9, 9)
    setting = Setting(parse("cpu,isa=neon"), 2, True, ("x",), dtype="bfloat16")
    assert setting.target.convolution(conv, setting).modelled(conv.shape(x), x) is False


def test_cores_belong_to_neon():
    assert parse("cpu,isa=neon,threads=2,cores=4").text == "cpu,threads=2,isa=neon,cores=4"
    assert "cores" not in parse("cpu,isa=avx2,threads=2").text
    for text, words in (
        ("cpu,isa=avx2,cores=2", "cores=2 with isa=avx2; allowed: with isa=neon"),
        ("cpu,isa=neon,cores=0", "found 'cores=0'; allowed: cores=1 to cores=1024"),
        ("cpu,isa=neon,cores", "found 'cores'"),
        ("cpu,threads=2,threads=3", "threads stands twice; allowed: once"),
    ):
        with pytest.raises(CostmodelError, match=words):
            parse(text)


def test_a_line_of_batches_is_as_exact_as_numbers():
    line = Batches([1, 2, 3, 9]).size
    assert np.array_equal(
        np.broadcast_to(linear_bytes(line, 64, 10), (1, 4))[0], [linear_bytes(n, 64, 10) for n in (1, 2, 3, 9)]
    )
