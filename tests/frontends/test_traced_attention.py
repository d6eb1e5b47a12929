"""Attention in traced modules: torch's versions differ in the kernels that run, and in what they keep and allocate."""

import pytest
import torch
from modules import configure
from real import seldom
from torch import nn
from torch.nn import functional

import costmodel
from costmodel.errors import CostmodelError
from costmodel.frontends.modules.dry.adding import ADDING
from costmodel.frontends.modules.trace import trace
from costmodel.graph.inputs import images
from costmodel.pytorch import measure, realize
from costmodel.pytorch.validate import validate
from costmodel.step.certainty import CHECKED, NOT_MODELLED


class Attending(nn.Module):
    """Images in patches, one multi-head attention over them, a classifier."""

    def __init__(self, need_weights, **options):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.attention = nn.MultiheadAttention(8, 2, **options)
        self.need_weights = need_weights
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).permute(0, 2, 1)
        x = x if self.attention.batch_first else x.transpose(0, 1)
        y, _ = self.attention(x, x, x, need_weights=self.need_weights)
        return self.fc((x + y).mean(1 if self.attention.batch_first else 0))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"batch_first": True, "bias": False}], ids=str)
@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attention_costs_what_is_predicted(need_weights, options):
    module = Attending(need_weights, **options)
    network = trace(module, images(16))
    for strategy in ("full", "last", "bias"):
        estimate, alone = (costmodel.estimate(network, strategy, 3, 16, target=to) for to in ("cpu", "none"))
        measured = measure(configure(module, strategy, estimate.graph), 3, 16)
        assert estimate.saved_bytes == measured.saved_bytes, strategy
        # A bias alone: how oneDNN lays out the gradient that comes from the attention is not modelled.
        if estimate.certainty.step_peak == NOT_MODELLED:
            assert estimate.step_peak_bytes <= measured.step_peak_bytes, strategy
        else:
            assert estimate.step_peak_bytes == measured.step_peak_bytes, strategy
        assert alone.step_peak_bytes == measured.tensor_peak_bytes, strategy
        assert estimate.flops["forward"] == measured.forward_flops
        assert estimate.flops["backward"] == measured.backward_flops
        assert estimate.trainable_parameters == measured.trainable_parameters
        assert measure(realize(network, strategy), 3, 16).saved_bytes == measured.saved_bytes


class Patches(nn.Module):
    """Attention of torch's own between patches, each of 8 features in heads of 4."""

    def __init__(self, heads):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.heads, self.attend = heads, functional.scaled_dot_product_attention
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).mT
        y = self.attend(*self.heads(x))
        y = y * y.sigmoid()
        y = y.transpose(1, 2).flatten(2) if y.dim() == 4 else y
        return self.fc((y if y.shape == x.shape else y.repeat(1, 1, 2)).mean(1))


HEADS = {
    "two heads": lambda x: [x.contiguous().unflatten(2, (2, 4)).transpose(1, 2)] * 3,
    "one key for both": lambda x: [
        x.contiguous().unflatten(2, (2, 4)).transpose(1, 2),
        *[x[:, None, :, :4].contiguous()] * 2,
    ],
    "one head": lambda x: [x.contiguous(), x.sigmoid().contiguous(), x.tanh().contiguous()],
    "heads that lie together": lambda x: [x.unflatten(2, (2, 4)).transpose(1, 2).contiguous()] * 3,
    "features that lie apart": lambda x: [x.unflatten(2, (2, 4)).transpose(1, 2)] * 3,
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("heads", HEADS)
def test_attention_costs_what_is_predicted(heads):
    module = Patches(HEADS[heads])
    network = trace(module, images(16))
    for run in (module, realize(network, "as_is")):
        measured = measure(run, 3, 16)
        whole, alone = (costmodel.estimate(network, "as_is", 3, 16, target=target) for target in ("cpu", "none"))
        assert whole.saved_bytes == measured.saved_bytes
        # If attention is made of several ops, the prediction lacks the mask that its softmax makes.
        if whole.certainty.step_peak == NOT_MODELLED:  # of one head since torch 2.14
            assert whole.step_peak_bytes <= measured.step_peak_bytes
        elif any(node.op.kind == "attention" for node in network.graph.nodes):
            assert whole.step_peak_bytes == measured.step_peak_bytes
        assert alone.step_peak_bytes == measured.tensor_peak_bytes
        assert whole.flops["forward"] == measured.forward_flops
        assert whole.flops["backward"] == measured.backward_flops


SHARED = "the heads of a projection, side by side"
LAID_OUT = {
    SHARED: lambda x, n: x.unflatten(2, (3, 3, 5)).permute(2, 0, 3, 1, 4).unbind(0),
    "copied": lambda x, n: [y.unflatten(2, (3, 5)).transpose(1, 2).contiguous() for y in x.chunk(3, -1)],
    "without an axis of heads": lambda x, n: x.unflatten(2, (3, 3, 5)).permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0),
}
MASKS = {"trained": torch.float32, "fixed": torch.float32, "of bools": torch.bool}


class Masked(nn.Module):
    """Attention of 3 heads of 5 features between 36 patches, with a mask."""

    def __init__(self, mask, shape, heads, p=0.0):
        super().__init__()
        self.patches, self.qkv, self.fc = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 45), nn.Linear(15, 5)
        if mask == "trained":
            self.mask = nn.Parameter(torch.randn(shape))
        else:
            self.register_buffer("mask", torch.ones(shape, dtype=MASKS[mask]))
        self.heads, self.p = LAID_OUT[heads], p

    def forward(self, x):
        x = self.patches(x).flatten(2).mT
        q, k, v = self.heads(self.qkv(x), len(x))
        mask = self.mask * 2 if isinstance(self.mask, nn.Parameter) else self.mask
        y = functional.scaled_dot_product_attention(q, k, v, mask, self.p if self.training else 0.0)
        return self.fc(y.view(len(x), 3, 36, 5).transpose(1, 2).flatten(2).mean(1))


def hold(module, strategy):
    found = costmodel.estimate(trace(module, images(24)), strategy, 3, 24)
    assert found.certainty.saved == found.certainty.tensor_peak == CHECKED, found.notes
    checks = validate(trace(module, images(24)), strategy, 3, 24)
    assert [check for check in checks if not check.holds] == []
    return {node.op.kind for node in found.graph.nodes}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("strategy", ["full", *seldom("last", "bias", "inference")])
@pytest.mark.parametrize("shape", [(1, 3, 36, 36), *seldom(((36, 36),), ((1, 36),), ((3, 36, 36),))], ids=str)
@pytest.mark.parametrize("heads", LAID_OUT)
@pytest.mark.parametrize("mask", MASKS)
def test_masked_attention_costs_what_is_predicted(mask, heads, shape, strategy):
    if heads == "without an axis of heads":
        shape = (1, *shape[-2:])  # of images and heads together
    kinds = hold(Masked(mask, shape, heads), strategy)
    has_kernel = len(shape) != 3 and not (mask == "trained" and strategy == "full")
    assert ("attention" in kinds) == has_kernel and ("safe_softmax" in kinds) != has_kernel


@pytest.mark.one_in(3)
@pytest.mark.parametrize("mask", MASKS)
def test_masked_attention_with_dropout_costs_what_is_predicted(mask):
    assert "dropout" in hold(Masked(mask, (1, 3, 36, 36), SHARED, 0.2), "full")


def test_causal_attention_costs_what_is_predicted_and_realises():
    causal = Patches(HEADS["two heads"])
    attend = functional.scaled_dot_product_attention
    causal.attend = lambda *heads: attend(*heads, is_causal=True, scale=0.3)
    checks = validate(trace(causal, images(16)), "as_is", 3, 16)
    assert [check for check in checks if not check.holds] == []
    realize(causal, "full")  # proves itself
    causal.attend = lambda *heads: attend(*heads, None, 0.1, is_causal=True)
    with pytest.raises(CostmodelError, match="causal attention that is no kernel's is not supported"):
        trace(causal, images(16))
    causal.attend = lambda *heads: attend(*heads, enable_gqa=True)
    with pytest.raises(CostmodelError, match="attention of grouped queries is not supported"):
        trace(causal, images(16))


def test_a_dry_step_adds_in_place_where_torch_does():
    """A linear layer of a map whose channels lie apart adds its bias to the product: 3 x 36 tokens of 45 features."""
    assert {"linear", "scaled_dot_product_attention"} == ADDING
    module = Masked("fixed", (36, 36), SHARED)
    dry = costmodel.estimate(module, "inference", 3, 24, target="none")
    assert dry.certainty.tensor_peak == CHECKED
    projected = 4 * 3 * 36 * 45
    patches, attended, logarithms = 4 * 3 * 36 * 16, 4 * 3 * 36 * 15, 4 * 3 * 3 * 36
    assert dry.step_peak_bytes == patches + projected + attended + logarithms < patches + 2 * projected


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full", "last", "blocks:1", "bias", "inference"])
@pytest.mark.parametrize("name", ["tiny_vit_5m_224", "volo_d1_224", "maxvit_rmlp_pico_rw_256", "eca_halonext26ts"])
def test_networks_of_timm_cost_what_is_predicted(name, strategy):
    network = costmodel.load(f"timm:{name}", classes=10)
    found = costmodel.estimate(network, strategy, 2)
    assert found.certainty.saved == CHECKED, found.notes
    assert [check for check in validate(network, strategy, 2, network.resolution) if not check.holds] == []


class Readers(nn.Module):
    """Two linear layers that read one map of tokens."""

    def __init__(self, frozen, bias, act):
        super().__init__()
        self.first, self.act = nn.Linear(8, 256), act
        self.one, self.other, self.head = nn.Linear(256, 4, bias), nn.Linear(256, 4, False), nn.Linear(4, 3)
        for layer in (self.one, self.other):
            layer.requires_grad_(not frozen)

    def forward(self, x):
        x = self.act(self.first(x))
        return self.head((self.one(x) + self.other(x)).mean(1))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("act", [nn.GELU(), nn.Identity()])
@pytest.mark.parametrize("frozen, bias", [(True, True), (True, False), (False, True)])
def test_gradients_of_tokens_are_views_which_nothing_is_added_to(frozen, bias, act):
    """With layers of more than two axes the sum of both gradients is a third tensor, of 16 x 50 x 256 float32."""
    module = Readers(frozen, bias, act)
    found = costmodel.estimate(module, "as_is", 16, inputs=(50, 8), target="none")
    real = measure(module, 16, inputs=(50, 8))
    assert found.certainty.tensor_peak == "checked"
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
    if frozen and not isinstance(act, nn.GELU):
        assert found.step_peak_bytes > 3 * 4 * 16 * 50 * 256


@pytest.mark.parametrize("strategy", ["lora:2", "lora:2,fa=1"])
def test_branches_beside_layers_of_tokens(strategy):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(16)
            self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
            self.head = nn.Linear(16, 4)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            return self.head((x + self.mlp(self.norm(x))).mean(1))

    for check in validate(costmodel.load(Block(), resolution=64), strategy, 2, 64, "lean", target="cpu"):
        assert check.error == 0, check
