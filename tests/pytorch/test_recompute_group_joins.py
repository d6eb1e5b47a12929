"""Products with gates and sums behind group norms are made again, too: exact, and predicted to the byte."""

import pytest
from real import seldom
from test_recompute import MAPS, MIXED, hold, hold_gradients

import costmodel
from costmodel.ops import remade

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = """\
network: groups
resolution: 33
classes: 5
norm: {norm}
activation: {{op: {act}}}
stochastic_depth: 0.3
squeeze_excite: {{of: expanded, ratio: 0.25, activation: {{op: relu}}, gate: {{op: sigmoid}}}}
stem:
  - {{conv: 8, kernel: 3, stride: 2, at: [stem.conv, stem.norm, stem.act]}}
stages:
  - {{expand: 2, out: 8, kernel: 5, squeeze_excite: true}}
  - {{expand: 3, out: 16, stride: 2, repeat: 3, squeeze_excite: true}}
tail:
  - {{conv: 32, at: [head.conv, head.norm, head.act]}}
  - {{op: adaptive_avg_pool2d, at: pool}}
  - {{op: flatten, at: flatten}}
  - {{op: linear, out_features: classes, at: classifier}}
"""
STRATEGIES = ("full", "blocks:2", "mobiletl:2", "mobiletl:3,norm=full", "full,checkpoint=blocks")


@pytest.mark.parametrize("cut", [9_000, remade.SLICE_BYTES])
@pytest.mark.parametrize("per_group, act, memory_format", [
    (4, "hardswish", "contiguous"), *seldom(
        (4, "hardswish", "channels_last"), (8, "relu6, inplace: true", "contiguous"), (1, "silu", "channels_last"),
        (2, "relu", "channels_last"), (8, "silu", "contiguous"),
    ),
])  # fmt: skip
def test_blocks_with_gates_and_sums(per_group, act, memory_format, cut, spec_file, monkeypatch):
    network = costmodel.load(spec_file(SPEC.format(act=act, norm=f"{{op: group_norm, per_group: {per_group}}}")))
    monkeypatch.setattr(remade, "SLICE_BYTES", cut)
    for strategy in (*STRATEGIES, *(("bias", "norm+last") if memory_format == "contiguous" else ())):
        for batch, resolution in ((5, 33), (2, 47)):
            found = hold(network, strategy, batch, resolution, memory_format)
            if strategy == "full":
                kinds = {node.op.kind for node in found.graph.nodes}
                assert {"remaking_mul_of_groups", "remaking_add", "remaking_conv2d_of_groups"} <= kinds
                assert not {"mul", "add", "group_norm"} & kinds
    for strategy in (f"full,{MAPS}", f"blocks:2,{MAPS}", f"full,{MIXED}"):
        assert hold_gradients(network, strategy, 5, 33, memory_format)


def test_the_same_maps_are_kept_as_with_batch_norms(spec_file):
    batch, channels = 3, (8, 16, 16, 8, 24, 24, 16, 48, 48, 16, 48, 48, 16, 32)
    of_batch, of_groups = (
        costmodel.estimate(costmodel.load(spec_file(SPEC.format(act="silu", norm=norm))), "full", batch, 33, "lean")
        for norm in ("{op: batch_norm}", "{op: group_norm, per_group: 4}")
    )
    # Mean and deviation, of channels of the batch there, of groups of 4 channels of each image here.
    statistics = 2 * 4 * sum(batch * c // 4 - c for c in channels)
    assert of_groups.saved_bytes - of_batch.saved_bytes == statistics
