"""Optimizers: what they keep beside each parameter that trains, in the steady state."""

from __future__ import annotations

from typing import Dict, NamedTuple

from ..errors import check_name
from ..sizes.size import nbytes


class Optimizer(NamedTuple):
    """One of torch.optim's, with its default options.

    slots: tensors of the parameter's own shape and type; counters: float32 step counts, one each per parameter tensor.
    root: the update divides by a square root, for which it makes two tensors of the parameter's shape.
    """

    name: str
    summary: str
    slots: int
    counters: int = 0
    root: bool = False

    def state_bytes(self, elements: int, tensors: int, bits: int = 32) -> int:
        """Bytes of state for `elements` trained parameters in `tensors` tensors."""
        return self.slots * nbytes(elements, bits) + 4 * self.counters * tensors


OPTIMIZERS: Dict[str, Optimizer] = {
    o.name: o
    for o in (
        Optimizer("sgd", "plain stochastic gradient descent, no state", 0),
        Optimizer("momentum", "SGD with momentum: one buffer per parameter", 1),
        Optimizer("adam", "Adam: two moments per parameter, a step count per tensor", 2, 1, True),
        Optimizer("adamw", "Adam with decoupled weight decay: state as Adam's", 2, 1, True),
    )
}


def find(name: str) -> Optimizer:
    """The optimizer of this name; raises CostmodelError where there is none."""
    check_name("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]
