"""How long tracing MobileNetV2 takes, beside plain Python."""

import torchvision
from pace import fastest, plain_python

from costmodel.frontends.modules.trace import trace
from costmodel.graph.inputs import images


def test_tracing_beside_plain_python(benchmark):
    module = torchvision.models.mobilenet_v2()
    benchmark.pedantic(trace, args=(module, images(224)), rounds=5, warmup_rounds=1)
    traced, python = fastest(lambda: trace(module, images(224)), plain_python, rounds=5)
    benchmark.extra_info["of plain_python"] = traced / python
    assert traced <= 20 * python  # seen: 5.6, which is 23 ms
