"""A batch norm whose statistics are those of all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.op import op
from .norm import BatchNorm


@op("sync_batch_norm")
class SyncBatchNorm(BatchNorm):
    """torch.nn.SyncBatchNorm, priced as in one process, where it is a batch norm. It has no lean form."""

    @property
    def is_plain(self) -> bool:
        return False

    def module(self, library: Any) -> Callable:
        if self.statistics == "frozen":
            return super().module(library)
        return library.nn.SyncBatchNorm(self.channels, self.eps, self.momentum, self.affine)


SyncBatchNorm.examples = ((SyncBatchNorm(8), (2, 8, 5, 3)),)
