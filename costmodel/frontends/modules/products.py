"""Translates torch's products of matrices and attention into ops."""

from __future__ import annotations

from math import prod

from ...graph.op import OPS
from . import installed
from .functions import FUNCTIONS, function


@function("matmul", "bmm", "__matmul__")
def matmul(t, a, b):
    # The strides of matmul's own result on the meta device may differ from a real run's.
    y = t.torch.empty(t.run(t.torch.matmul, a, b).shape, device="meta")
    a, b = (_as_batch(t, operand, y) if max(a.dim(), b.dim()) > 2 else operand for operand in (a, b))
    return t.emit(OPS["matmul"](), [a, b], y)


def _as_batch(t, x, y):
    """An operand of matmul, copied if need be: torch.matmul views operands as (batch, L, K) or else copies them."""
    batch = y.shape[:-2]
    expanded = t.run(t.torch.Tensor.expand, x, (*batch, *x.shape[-2:]))
    folded = t.run(t.torch.Tensor.reshape, expanded, (prod(batch), *x.shape[-2:]))
    if t.shares(folded, x):
        return x
    if tuple(expanded.shape) != tuple(x.shape):
        x = FUNCTIONS["expand"](t.named("broadcast_to"), x, expanded.shape)
    return t.emit(OPS["copy"](), [x], t.torch.empty(x.shape, device="meta"))


@function("scaled_dot_product_attention")
def attention(t, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    if attn_mask is not None or is_causal or enable_gqa:
        raise t.error("attention with a mask or grouped queries")
    if query.dim() == 3 and installed.attention_takes_batches_of_one_head():
        heads = [FUNCTIONS["unsqueeze"](t.named("unsqueeze"), x, 0) for x in (query, key, value)]
        return FUNCTIONS["squeeze"](t.named("squeeze"), attention(t, *heads, None, dropout_p, scale=scale), 0)
    one = key.shape[:-2] == value.shape[:-2] and query.shape[-1] == value.shape[-1]
    shared = query.shape[0] == key.shape[0] and key.shape[1] == 1 and installed.attention_shares_keys()
    fits = query.dim() == 4 and one and (shared or query.shape[:-2] == key.shape[:-2])
    if not fits or dropout_p or any(x.stride(-1) != 1 for x in t.without_data([query, key, value])):
        return attention_by_parts(t, query, key, value, dropout_p, scale)
    by_token = not installed.attention_lies_as_queries()
    n, heads, tokens, features = query.shape
    y = t.torch.empty(n, tokens, heads, features, device="meta").transpose(1, 2) if by_token else t.like(query)
    return t.emit(OPS["attention"](by_token), [query, key, value], y)


def attention_by_parts(t, query, key, value, dropout_p, scale):
    """Attention by torch's "math" implementation, for inputs that its kernel refuses, as one key for several heads."""
    root = float((query.shape[-1] ** -0.5 if scale is None else scale) ** 0.5)
    query = t.emit(OPS["mul_number"](root, bare=True), [query], t.like(query))
    key = FUNCTIONS["transpose"](t.named("transpose"), key, -2, -1)
    key = t.emit(OPS["mul_number"](root, bare=True), [key], t.like(key))
    weights = FUNCTIONS["softmax"](t, FUNCTIONS["matmul"](t, query, key))
    return FUNCTIONS["matmul"](t, FUNCTIONS["dropout"](t, weights, dropout_p), value)
