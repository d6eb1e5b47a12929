"""Modules that cannot be traced at all, whatever their layers are."""

from __future__ import annotations

import torch
from torch import nn

from ...errors import CostmodelError
from .compiled import refuse_torchscript


def refuse_what_no_trace_takes(module: nn.Module) -> None:
    """Raise CostmodelError for a module that cannot be traced at all."""
    refuse_torchscript(module)
    for path, child in module.named_modules():
        if child._backward_hooks or child._backward_pre_hooks:
            raise CostmodelError(f"{path or 'the network'} ({type(child).__name__}) has backward hooks: remove them")
    for path, parameter in module.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise CostmodelError(f"parameter {path!r} has a hook for its gradient: remove it")
    for kind, tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for path, tensor in tensors:
            if tensor.layout is not torch.strided:
                raise CostmodelError(f"{kind} {path!r} is sparse ({tensor.layout}); allowed: dense tensors")
            if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
                raise CostmodelError(f"{kind} {path!r} has no shape yet; run the module once")
            if tensor.is_inference():
                raise CostmodelError(f"{kind} {path!r} was made in inference mode: make it outside")
            if type(tensor) not in (torch.Tensor, nn.Parameter, getattr(nn, "Buffer", torch.Tensor)):
                raise CostmodelError(f"{kind} {path!r} is a {type(tensor).__name__}; allowed: plain torch.Tensor")
