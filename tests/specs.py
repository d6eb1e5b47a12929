"""Small specs, and a function that changes one."""

BLOCKS = """\
network: tiny
resolution: 32
classes: 10
squeeze_excite: {gate: {op: hardsigmoid}}
stem:
  - {conv: 8, kernel: 3, stride: 2, at: [stem.conv, stem.norm, stem.act]}
stages:
  - {expand: 2, out: 16, stride: 2, repeat: 2, squeeze_excite: true}
tail:
  - {op: adaptive_avg_pool2d, at: pool}
  - {op: flatten, at: flatten}
  - {op: linear, out_features: classes, at: classifier}
"""


NODES = """\
network: tiny
resolution: 8
classes: 4
nodes:
  - {name: conv, op: conv2d, out_channels: 8, kernel: 3}
  - {name: pool, op: mean}
  - {name: fc, op: linear, out_features: classes}
"""


def changed(text, old, new):
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    return text.replace(old, new)


# MobileNetV3-Small's last block: 96 channels, 576 expanded, 7x7; like V2's, with another activation and no squeezing.
ONE_BLOCK = """\
network: one_block
resolution: 7
channels: 96
classes: 10
activation: {op: relu6, inplace: true}
stem: []
stages:
  - {expand: 6, out: 96, kernel: 5}
tail:
  - {op: mean, at: mean}
  - {op: linear, out_features: classes, at: classifier}
classifier: classifier
"""
