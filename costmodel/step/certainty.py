"""How certain an estimate's figures are."""

from __future__ import annotations

from typing import NamedTuple

CHECKED, RULE, DRY, PROBED = "checked", "rule", "dry", "probed"
NOT_MODELLED, LOWER_BOUND = "not_modelled", "lower_bound"


class Certainty(NamedTuple):
    """How certain each figure is.

    checked: held against a dry step at these sizes (of `step_peak` its tensors are, kernels are by rule). rule: follows
    from rules that hold by tests. dry: is the dry step's. probed: what calls of kernels allocate was measured on the
    machine that the target names, for some or all of them, and rules hold for the others. not_modelled: at least, since
    kernels' own allocations are left out. lower_bound: the network has unknown ops, which cost nothing.
    """

    saved: str = RULE
    flops: str = RULE
    tensor_peak: str = RULE
    step_peak: str = RULE
