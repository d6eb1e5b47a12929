"""Ops that only see their input in another shape."""

from __future__ import annotations

from ..op import Op, Work, check, op
from ..size import numel


@op("flatten")
class Flatten(Op):
    """torch.flatten(x, 1): (N, ...) -> (N, features), a view."""

    is_view = True

    def shape(self, x):
        check(len(x) >= 2, "flatten takes (N, ...)")
        return (x[0], numel(x[1:]))

    def needs(self):
        return {"x": ()}

    def work(self, y, x):
        return {"forward": Work(), "x": Work()}

    def module(self, library):
        return library.nn.Flatten(1)


Flatten.examples = ((Flatten(), (2, 3, 4, 5)), (Flatten(), (2, 8, 1, 1)))
