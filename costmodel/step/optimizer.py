"""Optimizers: what they keep for each parameter that trains, and what they allocate while they update it."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import check_name
from ..sizes.size import Size, maximum, nbytes

# When a tensor that an update makes is freed: at once, after its parameter, or during the next parameter's update.
AT_ONCE, WITH_PARAMETER, WITH_NEXT = "at once", "with its parameter", "with the next parameter"


class Temporary(NamedTuple):
    """A tensor that the update makes for each parameter: of the parameter's shape, or a Python number as a tensor.

    why: what it is for. let_go: when it is freed. gone: why it is freed then, in a word.
    """

    why: str
    let_go: str = AT_ONCE
    gone: str = ""
    is_number: bool = False


class Optimizer(NamedTuple):
    """An optimizer of torch.optim, with its default options.

    torch_class, torch_options: its class there, and arguments besides the parameters. slots: number of state tensors
    per parameter, of its shape and type. counters: number of float32 step counts per parameter tensor. update: the
    tensors that the update makes for each parameter, in order; one that outlives its parameter is freed after the next
    parameter's tensors are made.
    """

    name: str
    summary: str
    torch_class: str
    torch_options: tuple[tuple[str, Any], ...] = ()
    slots: int = 0
    counters: int = 0
    update: tuple[Temporary, ...] = ()

    def state_bytes(self, elements: int, tensors: int, bits: int = 32) -> int:
        """Bytes of state for `elements` trained numbers of `bits` bits in `tensors` tensors."""
        return self.slots * nbytes(elements, bits) + 4 * self.counters * tensors

    @property
    def overlaps(self) -> bool:
        """Whether a tensor of one parameter's update is still alive during the next parameter's."""
        return any(made.let_go == WITH_NEXT for made in self.update)

    def update_bytes(self, size: Size, before: Size, number: int) -> Size:
        """Peak bytes while a parameter of `size` bytes is updated.

        before: bytes of the previous parameter, 0 for the first one. number: bytes of a Python number as a tensor.
        """
        level = highest = before * sum(made.let_go == WITH_NEXT for made in self.update)
        for made in self.update:
            own = number if made.is_number else size
            highest = maximum(highest, level + own)
            level = level if made.let_go == AT_ONCE else level + own
        return highest


NUMBER = Temporary("a number and its tensor", is_number=True)
# denom = (exp_avg_sq.sqrt() / bias_correction2_sqrt).add_(eps); `denom` is alive until the next parameter's is made.
DENOMINATOR = (
    Temporary("square root of the second moment", WITH_PARAMETER, "divided"),
    Temporary("denominator", WITH_NEXT, "replaced"),
    NUMBER,
)

OPTIMIZERS: dict[str, Optimizer] = {
    o.name: o
    for o in (
        Optimizer("sgd", "plain stochastic gradient descent, no state", "SGD", (("lr", 0.01),)),
        Optimizer("momentum", "SGD with momentum: one buffer per parameter", "SGD", (("lr", 0.01), ("momentum", 0.9)),
                  slots=1, update=(NUMBER,)),
        Optimizer("adam", "Adam: two moments per parameter, a step count per tensor", "Adam", slots=2, counters=1,
                  update=DENOMINATOR),
        Optimizer("adamw", "Adam with decoupled weight decay: state as Adam's", "AdamW", slots=2, counters=1,
                  update=DENOMINATOR),
    )
}  # fmt: skip


def find(name: str) -> Optimizer:
    """The optimizer of this name. Raises CostmodelError for an unknown name."""
    check_name("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]
