"""A network of a few parts, which brute force can search."""

import costmodel

TINY = """
network: tiny
resolution: 32
classes: 7
norm: {op: batch_norm}
activation: {op: %s, inplace: true}
squeeze_excite: {of: expanded, ratio: 0.25, divisor: 4, activation: {op: relu}, gate: {op: hardsigmoid}}
stem: [{conv: 8, kernel: 3, stride: 2, at: [stem.conv, stem.norm, stem.activation]}]
stages:
%s
tail:
- {conv: 32, kernel: 1, at: [head.conv, head.norm, head.activation]}
- {op: adaptive_avg_pool2d, at: pool}
- {op: flatten, at: flatten}
- {op: linear, out_features: classes, at: classifier}
classifier: classifier
"""


def tiny_network(folder, rows, activation="relu6"):
    """The network with some rows of stages; its file is in the folder."""
    path = folder / f"{abs(hash((tuple(rows), activation)))}.yaml"
    path.write_text(TINY % (activation, "\n".join(rows)))
    return costmodel.load(str(path))
