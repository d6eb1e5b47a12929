"""Finds out what the installed torch does where its versions differ and the cost of a traced network depends on it.

Each question runs a few numbers through the installed torch, so the answers also hold for versions that nobody has
measured. docs/versions.md says which version does what.
"""

from __future__ import annotations

from functools import cache

import torch
from torch.nn.functional import scaled_dot_product_attention


@cache
def attention_lies_as_queries() -> bool:
    """Whether the CPU's attention gives its output the queries' memory order; else image, token, head, feature."""
    with torch.inference_mode():
        queries = torch.zeros(2, 2, 3, 4)  # contiguous: in the order image, head, token, feature
        return scaled_dot_product_attention(queries, queries, queries).is_contiguous()


@cache
def attention_shares_keys() -> bool:
    """Whether the CPU's kernel for attention takes one key and one value for all heads."""
    return _is_one_kernel((1, 2, 1, 1), (1, 1, 1, 1))


@cache
def attention_takes_batches_of_one_head() -> bool:
    """Whether the CPU's kernel for attention takes tensors (N, L, E), and treats N as the heads of one image."""
    return _is_one_kernel((1, 1, 1), (1, 1, 1))


def _is_one_kernel(queries: tuple[int, ...], keys: tuple[int, ...]) -> bool:
    """Whether attention is a single autograd node, perhaps behind a view. Without the kernel it is several products."""
    with torch.enable_grad():
        query, key = torch.zeros(queries, requires_grad=True), torch.zeros(keys)
        node = scaled_dot_product_attention(query, key, key).grad_fn
    return any("Attention" in one.name() for one in (node, node.next_functions[0][0]))


@cache
def open_slices_are_nodes() -> bool:
    """Whether autograd treats `:` among several indices as a slice; its gradient is then a tensor of its own."""
    with torch.enable_grad():
        return torch.zeros(1, 1, requires_grad=True)[:, :].grad_fn.name().startswith("Slice")
