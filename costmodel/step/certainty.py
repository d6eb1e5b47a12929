"""How certain an estimate's figures are."""

from __future__ import annotations

from typing import NamedTuple

CHECKED, RULE, DRY, NOT_MODELLED, LOWER_BOUND = "checked", "rule", "dry", "not_modelled", "lower_bound"


class Certainty(NamedTuple):
    """How certain each figure is.

    checked: held against a dry step at these sizes (of `step_peak` its tensors are, kernels are by rule). rule: follows
    from rules that hold by tests. dry: is the dry step's. not_modelled: at least, since kernels' own allocations are
    left out. lower_bound: the network has unknown ops, which cost nothing.
    """

    saved: str = RULE
    flops: str = RULE
    tensor_peak: str = RULE
    step_peak: str = RULE
