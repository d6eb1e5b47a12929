"""Translates ONNX's operators of masks into ops: comparisons, logic, selection, masks as numbers."""

from __future__ import annotations

from ...ops.mask import MASK
from .arithmetic import Noise
from .layers import is_stored, kept, operator, refuse

RELATIONS = {"Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt", "LessOrEqual": "le", "Equal": "eq"}
#: The same relation from the other side.
TURNED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "eq"}


@operator(*RELATIONS)
def compare(r, a, b):
    relation = RELATIONS[r.node.op_type]
    if isinstance(a, Noise):
        keep = r.number(b)
        refuse(relation != "lt" or keep is None, f"{r.node.op_type} of random numbers, but as Less than a constant,")
        return a._replace(keep=keep)
    for x, other, found in ((a, b, relation), (b, a, TURNED[relation])):
        number = r.number(other)
        if number is not None and len(other.shape) <= len(x.shape):
            return r.emit("compare_number", {"relation": found, "number": number}, [x], kept(r.live(x)))
    a, b = r.live(a), r.live(b)
    return r.emit("compare", {"relation": relation}, [a, b], kept(a if len(a.shape) >= len(b.shape) else b))


@operator("And", "Or", "Xor")
def combine(r, a, b):
    a, b = r.live(a), r.live(b)
    larger = a if len(a.shape) >= len(b.shape) else b
    return r.emit("combine_masks", {"how": r.node.op_type.lower()}, [a, b], kept(larger))


@operator("Not")
def opposite(r, mask):
    return r.emit("not_mask", {}, [mask], kept(r.live(mask)))


@operator("Where")
def where(r, mask, a, b):
    for x, other, otherwise in ((a, b, False), (b, a, True)):
        number = r.number(other)
        if number is not None and len(other.shape) <= len(x.shape):
            return r.emit("where_number", {"number": number, "otherwise": otherwise}, [x, mask], kept(r.live(mask)))
    return r.emit("where", {}, [mask, a, b], kept(r.live(mask)))


@operator("Cast", "CastLike")
def cast(r, x, like=None):
    mask = not is_stored(x) and not isinstance(x, Noise) and x.draft is not None and x.draft.op.bits == MASK
    to = 1 if like is not None else r.attribute("to")
    if mask and to == 9:
        return x
    refuse(to != 1, "a change of data type, other than to float32,")
    if mask:
        return r.emit("mask_as_numbers", {}, [x], kept(x))
    return x.as_float() if is_stored(x) else x
