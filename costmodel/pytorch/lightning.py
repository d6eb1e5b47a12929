"""Lightning's callback: prints what the first training step costs, as predicted and as measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..errors import CostmodelError
from ..step.estimate import Estimate
from .watching import Watch, watch

PACKAGES = ("lightning.pytorch", "pytorch_lightning")  # one library under two names, each with classes of its own


def _callbacks() -> tuple[Any, ...]:
    """The class Callback of each of the packages that is imported, or else of the first that can be."""
    names = [name for name in PACKAGES if name in sys.modules]
    for name in names or PACKAGES:
        try:
            return tuple(import_module(found).Callback for found in names or [name])
        except ModuleNotFoundError as error:
            if error.name != name.partition(".")[0]:
                raise
    raise CostmodelError("CostCallback is for Lightning, which is not installed: pip install lightning")


class CostCallback(*_callbacks()):  # type: ignore[misc]
    """`Trainer(callbacks=[CostCallback()])` prints predicted beside measured; the options are those of `watch`.

    The module that is priced is the one that `training_step` calls, the LightningModule itself or a part of it.
    """

    def __init__(
        self, estimate: Estimate | None = None, peak: bool = True, show: Callable[[str], None] = print
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"estimate": estimate, "peak": peak, "show": show}
        self.watch: Watch | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self.watch = watch(pl_module, **self.options)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.watch is not None:
            self.watch.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if self.watch is not None:
            self.watch.remove()
