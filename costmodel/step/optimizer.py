"""Optimizers: what they keep for each parameter that trains, and what they allocate while they update it."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import CostmodelError, check_name
from ..sizes.size import nbytes
from ..targets.target import Target
from .update import COUNT, COUNT_BYTES, INNER_COUNT, INNER_NUMBER, NUMBER, ONE, Move, Update, freed, made, replaced

# The implementations of an optimizer beside its loop over parameters, named as its arguments in torch.
FOREACH, FUSED = IMPLEMENTATIONS = ("foreach", "fused")
#: An optimizer for each parameter, in a hook that runs when its gradient is complete and then frees it.
IN_PLACE = "in_place"
OPTIONS = (*IMPLEMENTATIONS, IN_PLACE)


class Optimizer(NamedTuple):
    """An optimizer of torch.optim, with its default options.

    torch_class, torch_options: its class there, and arguments besides the parameters. slots: number of state tensors
    per parameter, of its shape and type. counters: number of float32 numbers per parameter tensor. loop, foreach,
    fused: the moves of its implementations (torch's _single_tensor_, _multi_tensor_ and _fused_ functions); fused is
    None if there is none. settled_after: updates after which each one is like the last. implementation: the option that
    was asked for, if any; torch takes one by itself otherwise. in_place: each parameter is updated within the backward
    pass, by register_post_accumulate_grad_hook.
    """

    name: str
    summary: str
    torch_class: str
    torch_options: tuple[tuple[str, Any], ...]
    slots: int = 0
    counters: int = 0
    loop: tuple[Move, ...] = ()
    foreach: tuple[Move, ...] = ()
    fused: tuple[Move, ...] | None = None
    settled_after: int = 1
    implementation: str = ""
    in_place: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """What may be asked for behind the name."""
        return OPTIONS if self.fused is not None else (FOREACH, IN_PLACE)

    def state_bytes(self, elements: int, tensors: int, bits: int = 32) -> int:
        """Bytes of state for `elements` trained numbers of `bits` bits in `tensors` tensors."""
        return self.slots * nbytes(elements, bits) + COUNT_BYTES * self.counters * tensors

    def update_on(self, target: Target) -> Update:
        """How it updates parameters there."""
        taken = self.implementation or (FOREACH if target.takes_foreach else "")
        moves = {FOREACH: self.foreach, FUSED: self.fused or ()}.get(taken, self.loop)
        return Update(moves, bool(taken), self.in_place)


ROOT, DENOMINATOR, NUMERATOR = "square root of the squares", "denominator", "numerator"
MOMENT, SCALED, INVERSE = "corrected moment", "corrected moment times lr", "inverse of the root"
RATE, PRODUCT, CHANGE = "adaptive rate", "moment times adaptive rate", "change"

ADAM = Optimizer(
    "adam", "Adam: two moments per parameter, a step count per tensor", "Adam", (("lr", 0.001),), slots=2, counters=1,
    # denom = (exp_avg_sq.sqrt() / bias_correction2_sqrt).add_(eps)
    loop=(COUNT, NUMBER, made(ROOT), made(DENOMINATOR), NUMBER, freed(ROOT), NUMBER, replaced(DENOMINATOR)),
    foreach=(ONE, INNER_NUMBER, made(ROOT), replaced(ROOT), INNER_NUMBER),
    fused=(INNER_COUNT,),
)  # fmt: skip

#: The moves are those of torch 2.13; those of 2.4.1 and 2.14.1 are the same. What a variable of torch's loop holds is
#: freed when the next parameter's is bound to it (`replaced`). Of numbers in a row that are alike, one stands here.
OPTIMIZERS: dict[str, Optimizer] = {
    o.name: o
    for o in (
        Optimizer("sgd", "plain stochastic gradient descent, no state", "SGD", (("lr", 0.01),), fused=()),
        Optimizer("momentum", "SGD with momentum: one buffer per parameter", "SGD", (("lr", 0.01), ("momentum", 0.9)),
                  slots=1, loop=(NUMBER,), foreach=(INNER_NUMBER,), fused=()),
        ADAM,
        ADAM._replace(name="adamw", summary="Adam with decoupled weight decay: state as Adam's", torch_class="AdamW"),
        Optimizer("nadam", "Adam with Nesterov momentum: two moments per parameter, two numbers per tensor", "NAdam",
                  (("lr", 0.002),), slots=2, counters=2,
                  # denom = exp_avg_sq.div(bias_correction2).sqrt()
                  loop=(COUNT, NUMBER, made(MOMENT), NUMBER, made(DENOMINATOR), freed(MOMENT), replaced(DENOMINATOR),
                        NUMBER),
                  # mu_product *= mu runs while the roots are there.
                  foreach=(ONE, INNER_NUMBER, made(ROOT), replaced(ROOT), INNER_NUMBER, INNER_COUNT)),
        Optimizer("radam", "Adam with a rectified rate: two moments per parameter, a step count per tensor", "RAdam",
                  (("lr", 0.001),), slots=2, counters=1,
                  # bias_corrected_exp_avg = exp_avg / bias_correction1
                  # bias_corrected_exp_avg * lr * _compute_adaptive_lr() * _compute_rect()
                  loop=(COUNT, NUMBER, made(MOMENT), NUMBER, replaced(MOMENT), made(SCALED), NUMBER, made(ROOT),
                        NUMBER, made(INVERSE), made(RATE), NUMBER, freed(INVERSE), freed(ROOT), made(PRODUCT),
                        freed(RATE), freed(SCALED), made(CHANGE), NUMBER, freed(PRODUCT), freed(CHANGE)),
                  foreach=(ONE, INNER_NUMBER, made(ROOT), replaced(ROOT), INNER_NUMBER),
                  settled_after=5),  # the first five use no second moment (rho_t > 5)
        Optimizer("rmsprop", "RMSprop: a mean of squares per parameter, a step count per tensor", "RMSprop",
                  (("lr", 0.01),), slots=1, counters=1,
                  loop=(COUNT, NUMBER, made(ROOT), replaced(ROOT), NUMBER),
                  foreach=(ONE, INNER_NUMBER, made(ROOT), replaced(ROOT), INNER_NUMBER)),
        Optimizer("adagrad", "Adagrad: a sum of squares per parameter, a step count per tensor", "Adagrad",
                  (("lr", 0.01),), slots=1, counters=1,
                  # std = state_sum.sqrt().add_(eps)
                  loop=(COUNT, made(ROOT), NUMBER, replaced(ROOT)),
                  foreach=(ONE, made(ROOT), replaced(ROOT), INNER_NUMBER, made(NUMERATOR), INNER_NUMBER,
                           replaced(NUMERATOR)),
                  fused=(INNER_COUNT,)),
        Optimizer("adadelta", "Adadelta: means of squares and of changes per parameter, a step count per tensor",
                  "Adadelta", (("lr", 1.0),), slots=2, counters=1,
                  loop=(COUNT, NUMBER, made(ROOT), NUMBER, replaced(ROOT), made(CHANGE), NUMBER, replaced(CHANGE),
                        NUMBER),
                  foreach=(ONE, INNER_NUMBER, made(ROOT), INNER_NUMBER, replaced(ROOT), made(CHANGE), INNER_NUMBER,
                           replaced(CHANGE), INNER_NUMBER)),
    )
}  # fmt: skip


def find(text: str, accumulate: int = 1) -> Optimizer:
    """The optimizer of this text, NAME or NAME with one of OPTIONS. accumulate: micro-steps per update.

    Raises CostmodelError for an unknown one, and for one that cannot wait for several micro-steps.
    """
    name, *asked = text.split(",") if isinstance(text, str) else (text,)
    check_name("optimizer", name, OPTIMIZERS)
    found = OPTIMIZERS[name]
    if not asked:
        return found
    if len(asked) > 1 or asked[0] not in found.options:
        options = " or ".join(found.options)
        raise CostmodelError(f"optimizer {text!r} has {','.join(asked)!r} behind its name; allowed: {options}")
    if asked[0] == IN_PLACE:
        if accumulate > 1:
            raise CostmodelError(
                f"optimizer {text!r} updates in every micro-step, and accumulate is {accumulate}; allowed: 1"
            )
        return found._replace(name=text, in_place=True)
    return found._replace(name=text, torch_options=(*found.torch_options, (asked[0], True)), implementation=asked[0])


def split_list(text: str) -> list[str]:
    """The optimizers in a list joined by commas; an option belongs to the optimizer before it."""
    found: list[str] = []
    for part in text.split(","):
        if part in OPTIONS and found:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found
