"""The scratch of one op: by its rule, or of its tensors alone where the rule may say too much."""

from __future__ import annotations

from functools import cache

from ..graph.op import Op, Scratch
from ..sizes.size import Shape, where
from ..targets.bare import Bare
from ..targets.setting import Setting
from ..targets.target import Target


def scratch_of(op: Op, setting: Setting, y: Shape, *xs: Shape) -> Scratch:
    """The scratch of an op; where its kernels may allocate less, that of its tensors alone."""
    found = setting.target.measured(call_of(op, setting, y, *xs)) if setting.target.is_probed else None
    if found is not None:
        forward, backward = found
        return op.scratch(setting, y, *xs)._replace(forward=forward, backward=backward)
    if not setting.kernels:
        return op.scratch(setting, y, *xs)
    bounded = setting.target.has_rules and op.bounded(setting, y, *xs)
    if bounded is True:
        return op.scratch(setting, y, *xs)
    least = op.scratch(setting._replace(target=tensors_of(setting.target)), y, *xs)
    if bounded is False:
        return least
    return Scratch(*(where(bounded, rule, bare) for rule, bare in zip(op.scratch(setting, y, *xs), least)))


def call_of(op: Op, setting: Setting, y: Shape, *xs: Shape) -> str:
    """What tells one call of an op's kernels from another, as a text: all that its scratch depends on."""
    around = [layout and (layout.order, layout.outside) for layout in (*setting.layouts, setting.gradient)]
    rest = setting._replace(target=None, layouts=(), gradient=None)[1:]  # type: ignore[arg-type]
    return f"{op!r} {y} {xs} {rest} {around}"


@cache
def tensors_of(target: Target) -> Target:
    """The target that counts the tensors alone, in the same memory format."""
    return Bare(threads=target.threads, channels_last=target.channels_last, own=target.own_kernels)
