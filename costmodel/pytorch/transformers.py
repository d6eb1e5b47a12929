"""The callback of Hugging Face's Trainer: prints what the first training step costs, as predicted and as measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import CostmodelError
from ..step.estimate import Estimate
from .watching import Watch, watch

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    missing = "CostCallback is for Hugging Face's Trainer, which is not installed: pip install transformers accelerate"
    raise CostmodelError(missing) from None


class CostCallback(TrainerCallback):
    """`Trainer(callbacks=[CostCallback()])` prints predicted beside measured; the options are those of `watch`."""

    def __init__(
        self, estimate: Estimate | None = None, peak: bool = True, show: Callable[[str], None] = print
    ) -> None:
        self.options: dict[str, Any] = {"estimate": estimate, "peak": peak, "show": show}
        self.watch: Watch | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.is_world_process_zero:
            self.watch = watch(given["model"], **self.options)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self.watch is not None:
            self.watch.close()
