"""Translates ONNX's Attention into an op."""

from __future__ import annotations

from math import sqrt

from .layers import kept, operator, refuse


@operator("Attention")
def attention(r, queries, keys, values, mask=None, past_keys=None, past_values=None, lengths=None):
    """Of four axes, as torch.nn.functional.scaled_dot_product_attention: (N, heads, L, E)."""
    given = [r.live(x) for x in (queries, keys, values)]
    refuse(any(len(x.shape) != 4 for x in given), "Attention of other than four axes")
    refuse(len({x.shape[1] for x in given}) > 1, "Attention of grouped queries")
    refuse(any(x is not None for x in (past_keys, past_values, lengths)), "Attention with keys of earlier calls")
    refuse(r.attribute("softcap", 0.0), "Attention that caps its weights")
    causal, scale = bool(r.attribute("is_causal", 0)), r.attribute("scale")
    refuse(causal and mask is not None, "Attention that is causal and has a mask")
    fields = {"causal": causal, "scale": float(scale or 0)}
    if mask is not None:
        given.append(r.live(mask))
        refuse(given[-1].draft.op.bits, "Attention with a mask of booleans")
        fields |= {"masked": True, "scale": float(scale or 1 / sqrt(given[0].shape[-1]))}
    return r.emit("attention", fields, given, kept(given[0]))
