"""What a module holds."""

import torch
from torch import nn

from costmodel.frontends.modules.contents import buffers_of, not_traced, parameters_of
from costmodel.graph.op import Extra


def test_of_a_layer_within_another_and_of_the_module_itself():
    module = nn.Sequential(nn.BatchNorm1d(3))
    module.register_buffer("steps", torch.zeros(2, dtype=torch.int64))
    assert parameters_of(module) == (("0", "weight", (3,)), ("0", "bias", (3,)))
    of_norm = {("0", "running_mean", Extra((3,))), ("0", "running_var", Extra((3,)))}
    counters = {("", "steps", Extra((2,), 64)), ("0", "num_batches_tracked", Extra((), 64))}
    assert {*buffers_of(module)} == of_norm | counters
    graph = not_traced(module)
    assert [node.op.kind for node in graph.nodes] == ["unknown"] and graph.idle == parameters_of(module)
