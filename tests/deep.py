"""A network with any number of blocks."""

SPEC = """\
network: deep
resolution: 32
classes: 10
stem:
  - {{conv: 16, kernel: 3, stride: 2, at: [stem.conv, stem.norm, stem.act]}}
stages:
  - {{expand: 6, out: 16, repeat: {repeat}}}
tail:
  - {{op: mean, at: mean}}
  - {{op: linear, out_features: classes, at: classifier}}
"""


def deep(spec_file, repeat):
    """The path of a spec with `repeat` blocks."""
    return spec_file(SPEC.format(repeat=repeat), f"deep{repeat}.yaml")
