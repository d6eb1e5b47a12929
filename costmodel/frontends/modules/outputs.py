"""What a module returns: one tensor, or several in tuples and dicts, of which a loss by name takes the main one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...errors import CostmodelError
from .recorder import tensors_in

#: Names of the main output in what libraries return: torchvision's segmentation models, GoogLeNet and transformers.
MAIN = ("out", "logits")


def main_of(outputs: Any) -> torch.Tensor:
    """The tensor that a loss by name takes: the only one, or that called `out` or `logits`. Raises CostmodelError."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    found = list(tensors_in(outputs))
    if len(found) == 1:
        return found[0]
    own = getattr(outputs, "_fields", ()) or getattr(outputs, "__dataclass_fields__", ())
    names = list(outputs) if isinstance(outputs, Mapping) else list(own)
    for name in MAIN:
        main = outputs[name] if isinstance(outputs, Mapping) and name in names else getattr(outputs, name, None)
        if name in names and isinstance(main, torch.Tensor):
            return main
    listed = f" ({', '.join(names)})" if names else ""
    what = f"a {type(outputs).__name__} of {len(found)} tensors{listed}"
    raise CostmodelError(
        f"the network returns {what}; allowed: one tensor, or several of which one is called {' or '.join(MAIN)}, or a"
        " loss that takes what the network returns: loss=FUNCTION (--loss FILE.py:FUNCTION)"
    )
