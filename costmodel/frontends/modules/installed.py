"""What torch does otherwise from one version to another, as far as a traced network's cost depends on it.

The installed torch is asked in a run of its own, so that versions which nobody has measured are right too.
docs/versions.md says which version does what.
"""

from __future__ import annotations

from functools import cache

import torch
from torch.nn.functional import scaled_dot_product_attention


@cache
def attention_lies_as_queries() -> bool:
    """Whether the CPU's attention stores its output as the queries are; else by image, token, head and feature."""
    with torch.inference_mode():
        queries = torch.zeros(2, 2, 3, 4)  # a contiguous one lies by image, head, token and feature
        return scaled_dot_product_attention(queries, queries, queries).is_contiguous()


@cache
def attention_shares_keys() -> bool:
    """Whether the CPU's kernel for attention takes one key and one value for all heads."""
    return _is_one_kernel((1, 2, 1, 1), (1, 1, 1, 1))


@cache
def attention_takes_batches_of_one_head() -> bool:
    """Whether the CPU's kernel for attention takes (N, L, E), as the heads of one image."""
    return _is_one_kernel((1, 1, 1), (1, 1, 1))


def _is_one_kernel(queries: tuple[int, ...], keys: tuple[int, ...]) -> bool:
    """Whether attention is one node of autograd's, or one behind a view; where it is made of products it is many."""
    with torch.enable_grad():
        query, key = torch.zeros(queries, requires_grad=True), torch.zeros(keys)
        node = scaled_dot_product_attention(query, key, key).grad_fn
    return any("Attention" in one.name() for one in (node, node.next_functions[0][0]))


@cache
def open_slices_are_nodes() -> bool:
    """Whether `:` among several indices is a slice to autograd, whose gradient is a map of its own."""
    with torch.enable_grad():
        return torch.zeros(1, 1, requires_grad=True)[:, :].grad_fn.name().startswith("Slice")
