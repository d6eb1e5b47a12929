"""The loss of a step that runs: by name, or people's own, with its targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from ...ops._loss import Loss
from .given import Objective, targets_for
from .outputs import main_of
from .recorder import tensors_in


class Criterion:
    """A loss of what a module returns, for a batch on a device. Its targets are made once, and kept.

    given: is told of targets that are made when the result is known.
    """

    def __init__(self, loss: Loss | Objective, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        """dtype: of targets that are floating-point numbers."""
        self.loss, self.dtype = loss, dtype
        self.given: Callable[[torch.Tensor], None] = lambda x: None
        self._targets: list[Any] = []
        if isinstance(loss, Objective):
            self._targets = loss.targets_of(batch, lambda x: self._placed(x, device, dtype))

    @staticmethod
    def _placed(x: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        return x.detach().to(device, dtype if x.is_floating_point() else None)

    def of(self, returned: list[Any]) -> torch.Tensor:
        """The loss of what a module returned, the only item of a list, which is emptied: nobody else shall hold it."""
        outputs = returned.pop()
        if isinstance(self.loss, Objective):
            return self.loss(outputs, self._targets)
        main = main_of(outputs)
        del outputs
        if not self._targets:
            with _disable_current_modes():  # they are there before the step
                self._targets = [targets_for(self.loss, main, self.dtype)]
            self.given(self._targets[0])
        return self.loss.call(torch.nn.functional, main, *self._targets)

    @property
    def targets(self) -> list[torch.Tensor]:
        """The tensors of the targets, once they are made."""
        return list(tensors_in(self._targets))
