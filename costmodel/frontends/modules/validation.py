"""What torch.distributions asks of its arguments: whether they are valid. Without data, they count as valid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensor

#: How it asks. Releases before 2.6 take the truth of a tensor, which nobody has without data.
QUESTION = "_is_all_true"


@contextmanager
def arguments_are_valid() -> Iterator[None]:
    """Within this, arguments without data are valid, as those of a step that does not fail are.

    The checks run as in a real step, so that what they make counts in a peak; a trace does not know the question.
    """
    if not hasattr(torch, QUESTION):
        yield
        return
    ask = getattr(torch, QUESTION)

    def asked(valid: torch.Tensor) -> Any:
        found = ask(valid) if not _is_meta(valid) else None
        return True if found is None or isinstance(found, FakeTensor) else found

    with patch.object(torch, QUESTION, asked):
        yield


def _is_meta(x: torch.Tensor) -> bool:
    """Whether a tensor is on torch's `meta` device, which a trace does not tell."""
    with torch._C.DisableTorchFunction():
        return x.is_meta
