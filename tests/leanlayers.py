"""Compares lean layers with stock ones: results, gradients, bytes kept."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

LAYOUTS = {"plain": torch.contiguous_format, "channels_last": torch.channels_last}


layouts = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))


def images(channels=8, size=7, layout=torch.contiguous_format, dtype=torch.float32, batch=3):
    return torch.randn(batch, channels, size, size, dtype=dtype).contiguous(memory_format=layout)


def kept(module, x):
    """Bytes of the distinct storages that a forward pass keeps, without those of the module and of x."""
    own = {t.untyped_storage().data_ptr() for t in [*module.parameters(), *module.buffers(), x]}
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x)
    del y
    return sum(storage.nbytes() for storage in storages.values())


def keeps_input(module, x):
    pointers = []
    with saved_tensors_hooks(lambda t: pointers.append(t.data_ptr()) or t.detach(), lambda t: t):
        module(x)
    return x.data_ptr() in pointers


def run(module, x, g=None, inplace=False):
    """The output, and the gradients of the input and of the trained parameters.

    g: gradient of the output. inplace: whether the module may overwrite its input.
    """
    x = x.detach().clone().requires_grad_(True)
    y = module(x.clone() if inplace else x)
    g = torch.linspace(-2, 2, y.numel()).to(y.dtype).view(y.shape) if g is None else g
    gradients = torch.autograd.grad(y, [x, *(p for p in module.parameters() if p.requires_grad)], g)
    return y, gradients


def same(lean_module, stock, x, exact=True, g=None, inplace=False):
    (y, gradients), (stock_y, stock_gradients) = (run(m, x, g, inplace) for m in (lean_module, stock))
    tolerance = dict(rtol=0, atol=0) if exact else {}
    torch.testing.assert_close(y, stock_y, **tolerance)
    for gradient, stock_gradient in zip(gradients, stock_gradients, strict=True):
        torch.testing.assert_close(gradient, stock_gradient, **tolerance)
