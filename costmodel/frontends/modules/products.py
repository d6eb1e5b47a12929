"""Translates torch's products of matrices and attention into ops."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt

from ...graph.op import OPS, Result
from ...ops.attention import in_parts
from . import installed
from .asked import wants_gradient
from .functions import FUNCTIONS, contiguous_like, function


@function("matmul", "bmm", "__matmul__")
def matmul(t, a, b):
    if 1 in (a.dim(), b.dim()):
        return _with_vector(t, a, b)
    # The strides of matmul's own result on the meta device may differ from a real run's.
    y = t.torch.empty(t.run(t.torch.matmul, a, b).shape, device="meta")
    a, b = (_as_batch(t, operand, y) if max(a.dim(), b.dim()) > 2 else operand for operand in (a, b))
    return t.emit(OPS["matmul"](), [a, b], y)


def _with_vector(t, a, b):
    """A product with a vector on one side or both, as torch makes it (aten/src/ATen/native/LinearAlgebra.cpp).

    One matrix and a vector are a product of them. So are several matrices, as the rows of one, if they lie like that in
    memory, or if the vector needs a gradient: then they are copied. Otherwise the vector is a matrix for each of them.
    """
    if a.dim() == b.dim():
        return dot(t, a, b)
    if b.dim() == 1 and a.dim() == 2:
        return mv(t, a, b)
    shape = t.run(t.torch.matmul, a, b).shape
    vector, matrices = (a, b) if a.dim() == 1 else (b, a)
    if matrices.dim() > 2:
        rows = matrices if vector is b else t.run(t.torch.Tensor.transpose, matrices, -2, -1)
        if wants_gradient(t, vector) or t.shares(t.run(t.torch.Tensor.reshape, rows, (-1, rows.shape[-1])), matrices):
            return _by_rows(t, matrices, vector, shape, transposed=vector is a)
    column = FUNCTIONS["unsqueeze"](t.named("unsqueeze"), vector, 0 if vector is a else 1)
    y = matmul(t, column, b) if vector is a else matmul(t, a, column)
    return FUNCTIONS["squeeze"](t.named("squeeze"), y, -2 if vector is a else -1)


def _by_rows(t, matrices, vector, shape, transposed: bool):
    """The product of a vector and several matrices, whose rows are those of one. transposed: their columns."""
    if transposed:
        matrices = FUNCTIONS["transpose"](t.named("transpose"), matrices, -2, -1)
    rows = FUNCTIONS["reshape"](t.named("reshape"), matrices, (-1, matrices.shape[-1]))
    return FUNCTIONS["view"](t.named("view"), mv(t, rows, vector), shape)


@function("mv")
def mv(t, a, b):
    return t.emit(OPS["mv"](), [a, b], t.torch.empty(t.run(t.torch.mv, a, b).shape, device="meta"))


@function("dot")
def dot(t, a, b):
    return t.emit(OPS["dot"](), [a, b], t.run(t.torch.dot, a, b))


def _as_batch(t, x, y):
    """An operand of matmul, copied if need be: torch.matmul views operands as (batch, L, K) or else copies them."""
    if _is_batch(t, x, y.shape[:-2]):
        return x
    size = (*y.shape[:-2], *x.shape[-2:])
    if size != tuple(x.shape):
        x = FUNCTIONS["expand"](t.named("broadcast_to"), x, size)
    return t.emit(OPS["copy"](), [x], contiguous_like(x))


def _is_batch(t, x, batch) -> bool:
    """Whether matrices, expanded to batches of this shape, are a batch (N, L, K) in memory."""
    expanded = t.run(t.torch.Tensor.expand, x, (*batch, *x.shape[-2:]))
    return t.shares(t.run(t.torch.Tensor.reshape, expanded, (prod(batch), *x.shape[-2:])), x)


@function("scaled_dot_product_attention")
def attention(t, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    if enable_gqa:
        raise t.error("attention of grouped queries")
    mask = attn_mask
    if mask is not None and mask.dtype == t.torch.bool:
        mask = t.emit(OPS["added_mask"](), [mask, query], t.torch.empty(mask.shape, dtype=query.dtype, device="meta"))
    if mask is None and query.dim() == 3 and installed.attention_takes_batches_of_one_head():
        heads = [FUNCTIONS["unsqueeze"](t.named("unsqueeze"), x, 0) for x in (query, key, value)]
        y = attention(t, *heads, None, dropout_p, is_causal, scale)
        return FUNCTIONS["squeeze"](t.named("squeeze"), y, 0)
    factor = 1 / sqrt(query.shape[-1]) if scale is None else float(scale)
    given = [query, key, value] if mask is None else [query, key, value, mask]
    if dropout_p or not has_kernel(t, *given):
        if is_causal:
            raise t.error("causal attention that is no kernel's")
        return in_parts(*_writers(t), query.dim(), factor, query, key, value, mask, dropout_p)
    by_token = not installed.attention_lies_as_queries()
    n, heads, tokens, features = query.shape
    y = t.torch.empty(n, tokens, heads, features, device="meta").transpose(1, 2) if by_token else t.like(query)
    if mask is None:
        return t.emit(OPS["attention"](by_token, causal=is_causal, scale=0.0 if scale is None else factor), given, y)
    return t.emit(OPS["attention"](by_token, True, _copied(t, query, key, value), scale=factor), given, y)


def has_kernel(t, query, key, value, mask=None) -> bool:
    """Whether the CPU has a kernel for attention of these tensors, as long as the mask trains not (sdp_utils_cpp.h)."""
    one = key.shape[:-2] == value.shape[:-2] and query.shape[-1] == value.shape[-1]
    shared = query.shape[0] == key.shape[0] and key.shape[1] == 1 and installed.attention_shares_keys()
    fits = query.dim() == 4 and one and (shared or query.shape[:-2] == key.shape[:-2])
    if mask is not None:
        weights = (*query.shape[:-1], key.shape[-2])
        fits = fits and mask.dim() in (2, 4) and all(m in (1, n) for m, n in zip(mask.shape[::-1], weights[::-1]))
    return fits and all(x.stride(-1) == 1 for x in t.without_data([query, key, value]))


def _writers(t) -> tuple[Callable, Callable]:
    """What `in_parts` writes attention down with: a function that appends an op, and one that appends a product."""

    def do(op, x, *others):
        if op.result is Result.NEW:
            y = t.like(x)
        else:
            y = x if op.result is Result.INPLACE else t.run(op.module(t), x)
        return t.emit(op, [x, *others], y)

    return do, lambda a, b: FUNCTIONS["matmul"](t, a, b)


def _copied(t, query, key, value) -> tuple[int, ...]:
    """Which of queries, keys and values torch copies to make batches of matrices, where it runs attention in parts."""
    keys = t.like(t.run(t.torch.Tensor.transpose, key, -2, -1))  # scaled, as the queries are
    return tuple(i for i, x in enumerate((t.like(query), keys, value)) if not _is_batch(t, x, x.shape[:-2]))
