"""Which frozen blocks lean runs in channels_last in a contiguous network, and what their layers allocate."""

import pytest

import costmodel
from costmodel.conventions import lean
from costmodel.conventions._stretch import Stretch, stretch_of
from costmodel.graph.memory_formats import in_one_format
from costmodel.ops.conv import Conv2d
from costmodel.ops.lean_folded import FoldedConv2d, FrozenConv2d, LeavingAdd
from costmodel.strategies import apply
from costmodel.targets import parse
from costmodel.targets.memory_order import CHANNELS_LAST
from costmodel.targets.setting import Setting

ONE = parse("cpu,threads=1,isa=avx512")


def lowered(name, strategy):
    return lean.lower(apply(strategy, costmodel.load(name).graph))


def ends(graph):
    """The first and the last layer of a stretch."""
    inside = [node.name for node in graph.nodes if getattr(node.op, "stretch", "")]
    return (inside[0], inside[-1]) if inside else None


@pytest.mark.parametrize("name, strategy, expected", [
    ("mobilenet_v2", "blocks:5", ("features.0.0", "features.12.add")),  # a sum ends the last frozen block
    ("mobilenet_v2", "mobiletl:4", ("features.0.0", "features.13.add")),
    ("mobilenet_v2", "blocks:6", ("features.0.0", "features.11.conv.2")),  # a convolution, and its norm
    ("mobilenet_v2", "last", ("features.0.0", "features.17.conv.2")),  # the head is in no block
    ("mobilenet_v3_large", "blocks:5", ("features.0.0", "features.10.add")),
    ("mobilenet_v4_conv_small", "last", ("blocks.1.1.conv", "blocks.3.5.add")),  # the first blocks are fused ones
    ("mobilenet_v2", "full", None), ("mobilenet_v2", "bias", None), ("mobilenet_v2", "blocks:17", None),
    ("proxyless_mobile_tinytl", "last", None),  # group norms
])  # fmt: skip
def test_it_goes_from_the_first_layer_that_is_known_to_the_end_of_a_block(name, strategy, expected):
    assert ends(lowered(name, strategy)) == expected


def test_layers_know_their_places():
    graph = lowered("mobilenet_v3_large", "blocks:5")
    inside = [node for node in graph.nodes if getattr(node.op, "stretch", "")]
    assert {node.op.stretch for node in inside} == {"features.0.0"}
    assert [node.name for node in inside if getattr(node.op, "enters", False)] == ["features.0.0"]
    assert type(inside[-1].op) is LeavingAdd and not any(getattr(node.op, "leaves", False) for node in inside)
    assert {node.name for node in inside if type(node.op) is FrozenConv2d} == {
        f"features.{k}.block.2.fc{i}" for k in (4, 5, 6) for i in (1, 2)
    }  # gates of squeeze-and-excite
    plain = in_one_format(graph)
    assert ends(plain) is None and stretch_of(plain) == Stretch(
        0, 1 + max(i for i, node in enumerate(graph.nodes) if node is inside[-1]), "features.0.0"
    )
    assert in_one_format(plain) is plain


@pytest.mark.parametrize("more", [
    {"dtype": "bfloat16"}, {"amp": "bfloat16"}, {"target": "cuda"}, {"target": "cpu,threads=1,isa=unknown"},
    {"target": "cpu,threads=1,isa=avx512,channels_last"},
])  # fmt: skip
def test_elsewhere_maps_lie_as_all_others_do(more):
    asked = {"target": "cpu,threads=1,isa=avx512", **more}
    assert ends(costmodel.estimate("mobilenet_v2", "blocks:5", convention="lean", **asked).graph) is None


def test_what_the_ends_allocate():
    """Of images of 9 x 9 with 3 channels, two: 2 * 3 * 81 * 4 = 1,944 bytes are copied."""
    setting, x = Setting(ONE, 4, False, ()), (2, 3, 9, 9)
    plain = FoldedConv2d(3, 16, 3, stride=2, padding=1)
    y = plain.shape(x)
    inside = Conv2d(3, 16, 3, stride=2, padding=1, bias=True).scratch(setting._replace(layouts=(CHANNELS_LAST,)), y, x)
    folded = 4 * (16 * 3 * 9 + 16)  # the weight times the norm's scale, and the shift
    first = FoldedConv2d(3, 16, 3, stride=2, padding=1, stretch="a", enters=True)
    assert first.scratch(setting, y, x).forward == 1_944 + folded + inside.forward
    assert inside.forward >= 4 * 16 * 3 * 9  # among others the weight, which is brought into channels_last
    # A product allocates its weight and shift alone, on several threads too; its result is copied once it is freed.
    x = (2, 8, 5, 5)
    for threads in (1, 2):
        setting = Setting(parse(f"cpu,threads={threads},isa=avx512"), 4, False, (), (CHANNELS_LAST,))
        last = FoldedConv2d(8, 16, 1, stretch="a", leaves=True)
        assert last.scratch(setting, last.shape(x), x).forward == max(4 * (16 * 8 + 16), 4 * 2 * 16 * 25)
        assert last.modelled(setting, last.shape(x), x)
    assert not FoldedConv2d(8, 40, 1).modelled(setting, (2, 40, 5, 5), x)  # outside of one, oneDNN's is not known


@pytest.mark.parametrize("threads", [1, 2])
def test_frozen_blocks_peak_at_their_maps(threads):
    """MobileNetV2, 8 images of 224 x 224: in the second block's depthwise convolution, of stride 2.

    There are the block's input, 16 channels of 112 x 112, the expansion's output of 96, and 96 of 56 x 56; the weight
    times the norm's scale, the shift, and oneDNN's copy of that weight.
    """
    found = costmodel.estimate("mobilenet_v2", "last", 8, 224, "lean", target=f"cpu,threads={threads},isa=avx512")
    maps = 8 * 4 * ((16 + 96) * 112**2 + 96 * 56**2)
    assert found.step_peak_bytes == maps + 4 * (96 * 9 + 96) + 4 * 96 * 9 == 54_598_784
    assert found.certainty.step_peak == "rule"


def test_on_arm_too():
    """There a product takes the scaled weight transposed: a copy, by way of a block of 60 x 60 numbers."""
    target = "cpu,threads=4,cores=4,isa=neon"
    found = costmodel.estimate("mobilenet_v2", "mobiletl:5", 8, 224, "lean", target=target)
    assert ends(found.graph) == ("features.0.0", "features.12.add") and found.certainty.step_peak == "rule"
    stock = costmodel.estimate("mobilenet_v2", "mobiletl:5", 8, 224, target=target)
    assert found.step_peak_bytes < 0.46 * stock.step_peak_bytes
    x, setting = (2, 64, 7, 7), Setting(parse(target), 4, False, (), (CHANNELS_LAST,))
    for outputs, block in ((128, 14_400), (16, 0)):
        inside = FoldedConv2d(64, outputs, 1, stretch="a")
        folded, copied = 4 * (64 * outputs + outputs), 4 * 64 * outputs + block
        assert inside.scratch(setting, inside.shape(x), x).forward == folded + copied


@pytest.mark.parametrize("changed, expected", [
    ("", ("stem.conv", "blocks.0.add")),
    ("stem 24", ("blocks.0.expand.conv", "blocks.0.add")),  # not known with AVX2: the next one enters
    ("stem 1x1", None),  # no weight tells the memory format
])  # fmt: skip
def test_the_first_convolution(changed, expected, spec_file):
    out = 24 if changed == "stem 24" else 16
    kernel, padding = (1, 0) if changed == "stem 1x1" else (3, 1)
    text = f"""
network: two
resolution: 16
classes: 5
classifier: fc
blocks: [blocks.0, blocks.1]
nodes:
  - {{name: stem.conv, op: conv2d, out_channels: {out}, kernel: {kernel}, padding: {padding}}}
  - {{name: stem.bn, op: batch_norm}}
  - {{name: stem.act, op: relu6}}
"""
    for k in (0, 1):
        text += f"""
  - {{name: blocks.{k}.expand.conv, op: conv2d, out_channels: 32, kernel: 1}}
  - {{name: blocks.{k}.expand.bn, op: batch_norm}}
  - {{name: blocks.{k}.expand.act, op: relu6}}
  - {{name: blocks.{k}.depthwise.conv, op: conv2d, out_channels: 32, kernel: 3, padding: 1, groups: 32}}
  - {{name: blocks.{k}.depthwise.bn, op: batch_norm}}
  - {{name: blocks.{k}.depthwise.act, op: relu6}}
  - {{name: blocks.{k}.project.conv, op: conv2d, out_channels: {out}, kernel: 1}}
  - {{name: blocks.{k}.project.bn, op: batch_norm}}
"""
        below = "stem.act" if k == 0 else "blocks.0.add"
        text += f"  - {{name: blocks.{k}.add, op: add, inputs: [blocks.{k}.project.bn, {below}]}}\n"
    text += """
  - {name: pool, op: adaptive_avg_pool2d}
  - {name: flatten, op: flatten}
  - {name: fc, op: linear, out_features: classes}
"""
    found = ends(lowered(spec_file(text), "blocks:1"))
    if changed == "stem 24":  # its output is read by the sum, too: both would have to be copied
        assert found is None
    else:
        assert found == expected
