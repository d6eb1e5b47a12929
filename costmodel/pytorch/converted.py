"""Sees whether somebody has put other norms in the place of a realised module's own, which are not like stock ones."""

from __future__ import annotations

from torch import nn

from .modules import FrozenStatistics


def is_own(norm: nn.Module) -> bool:
    """Whether a module is a batch norm of this package's: with frozen statistics, or with an activation's work."""
    return isinstance(norm, nn.modules.batchnorm._BatchNorm) and (
        isinstance(norm, FrozenStatistics) or type(norm).__module__.startswith(__package__ or "")
    )


class NotConverted:
    """A hook before the forward pass of a realised module: its own norms must be there still.

    torch.nn.SyncBatchNorm.convert_sync_batchnorm takes them for stock ones. What it makes of them would train frozen
    statistics, normalise a second time after a convolution that does so already, or leave out an activation.
    """

    def __init__(self, root: nn.Module) -> None:
        self.norms = [
            (parent, name, f"{path}.{name}".lstrip("."), type(child))
            for path, parent in root.named_modules()
            for name, child in parent.named_children()
            if is_own(child)
        ]

    def __call__(self, module: nn.Module, args: tuple) -> None:
        for parent, name, path, own in self.norms:
            if type(parent._modules[name]) is not own:
                raise RuntimeError(
                    f"{path} is a {type(parent._modules[name]).__name__} now, and was a {own.__name__}, which does"
                    " more or less than a batch norm: convert the network's own module, and realise that one"
                )
