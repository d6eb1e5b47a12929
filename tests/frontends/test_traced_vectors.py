"""Products of vectors with matrices in traced modules: as torch makes them, they cost what a real step costs."""

import pytest
import torch
from torch import nn

import costmodel
from costmodel import CostmodelError
from costmodel.ops.matmul import Dot, MatrixVector
from costmodel.pytorch import measure, realize
from costmodel.step.certainty import CHECKED, DRY

SIZE = {"batch": 3, "inputs": (6, 4)}


class Pooled(nn.Module):
    """Tokens of 8 features, which a function of the module and of them pools, and a head.

    by_feature, by_token: vectors that train. table: a vector that does not.
    """

    def __init__(self, pool):
        super().__init__()
        self.tokens, self.head, self.pool = nn.Linear(4, 8), nn.Linear(8, 5), pool
        self.by_feature, self.by_token = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(6))
        self.register_buffer("table", torch.randn(8))

    def forward(self, x):
        return self.head(self.pool(self, self.tokens(x)))


def attention(self, x):
    weights = (x @ self.by_feature).softmax(1)
    return (weights[..., None] * x).sum(1)


#: A pool, and the kinds of the products in its graph.
POOLS = {
    "attention": (attention, ["mv"]),
    "by a buffer": (lambda self, x: x.mean(1) * (x @ self.table)[:, :1], ["mv"]),
    "by a result": (lambda self, x: x.mean(1) * (x @ x.mean((0, 1)))[:, :1], ["mv"]),
    "of copied rows": (lambda self, x: x.mean(1) * (x.transpose(0, 1) @ self.by_feature)[0, :, None], ["mv"]),
    "of rows that cannot be one matrix": (
        lambda self, x: x.mean(1) * (x.transpose(0, 1) @ self.table)[0, :, None],
        ["matmul"],
    ),
    "of four axes": (lambda self, x: (x.unflatten(1, (2, 3)) @ self.by_feature).flatten(1)[:, :1] * x.mean(1), ["mv"]),
    "a vector first": (lambda self, x: self.by_token @ x, ["mv"]),
    "a vector that trains not": (lambda self, x: torch.ones(6) @ x, ["matmul"]),
    "one matrix": (lambda self, x: x[:, 0] * (x[:, 1] @ self.by_feature)[:, None], ["mv"]),
    "a matrix second": (lambda self, x: x.mean(1) * (self.by_feature @ x.mean(1).mT)[:, None], ["matmul"]),
    "mv": (lambda self, x: x.mean(1) * torch.mv(x.mean(1), self.by_feature)[:, None], ["mv"]),
    "dot": (lambda self, x: x.mean(1) * torch.dot(self.by_feature, self.by_feature.sigmoid()), ["dot"]),
    "two vectors": (lambda self, x: x.mean(1) * (self.by_feature @ self.table), ["dot"]),
}


@pytest.mark.one_in(5)
@pytest.mark.parametrize("amp", [None, "bfloat16"])
@pytest.mark.parametrize("name", POOLS)
def test_a_product_with_a_vector_costs_what_a_real_step_costs(name, amp):
    if amp and name in ("mv", "dot"):
        return
    pool, kinds = POOLS[name]
    module = Pooled(pool)
    graph = costmodel.load(module, inputs=SIZE["inputs"]).graph
    assert [node.op.kind for node in graph.nodes if node.op.kind in ("mv", "dot", "matmul")] == kinds
    found = costmodel.estimate(module, "as_is", target="none", amp=amp, **SIZE)
    real = measure(module, target="cpu,threads=1", amp=amp, **SIZE)
    assert found.certainty.saved == CHECKED, found.notes
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
    assert (found.flops["forward"], found.flops["backward"]) == (real.forward_flops, real.backward_flops)
    whole = costmodel.estimate(module, "as_is", target="cpu,threads=1", amp=amp, **SIZE)
    least = whole.certainty.step_peak != CHECKED
    assert whole.step_peak_bytes == real.step_peak_bytes or least and whole.step_peak_bytes < real.step_peak_bytes


def test_attention_by_a_vector_in_numbers():
    found = costmodel.estimate(Pooled(attention), "as_is", 1, inputs=(6, 4), target="none")
    rows = {row.node: row.saved_bytes for row in found.rows}
    assert rows["mv"] == 6 * 8 * 4  # the tokens, for the vector's gradient; the vector is a parameter
    assert rows["softmax"] == 6 * 4
    work = dict(zip((node.name for node in found.graph.nodes), found.work))
    assert work["mv"].forward_macs == 6 * 8


def test_a_realised_pool_is_the_module():
    for strategy in ("full", "last", "inference"):
        module = realize(costmodel.load(Pooled(attention), inputs=(6, 4)), strategy)
        found = costmodel.estimate(Pooled(attention), strategy, target="cpu,threads=1", **SIZE)
        real = measure(module, target="cpu,threads=1", **SIZE)
        assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.step_peak_bytes)


def test_called_by_itself_under_autocast_a_dot_is_not_cast():
    module = Pooled(POOLS["dot"][0])
    found, real = costmodel.estimate(module, "as_is", amp="bfloat16", **SIZE), measure(module, amp="bfloat16", **SIZE)
    assert found.certainty.saved == DRY and found.saved_bytes == real.saved_bytes


@pytest.mark.parametrize(
    "op, shapes", [(MatrixVector(), ((3, 4), (3,))), (Dot(), ((3,), (4,))), (Dot(), ((3, 1), (3,)))]
)
def test_what_does_not_fit_is_refused(op, shapes):
    with pytest.raises(CostmodelError, match="do not fit|takes vectors"):
        op.shape(*shapes)
