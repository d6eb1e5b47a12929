"""Kernels that are asked what they make, since nobody else knows.

oneDNN's recurrent layers keep a workspace of their own size, and the loss of CTC a table that depends on the targets'
lengths.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
LAYERS = {getattr(aten, name) for name in ("mkldnn_rnn_layer", "mkldnn_rnn_layer_backward") if hasattr(aten, name)}
#: Ops whose results are found by running them on zeros.
ASKED = LAYERS | {aten._ctc_loss, aten._ctc_loss_backward}
#: What the results look like, by what they depend on.
_RESULTS: dict[tuple, list[tuple | None]] = {}


def as_its_kernel_makes_it(func: Any, args: tuple) -> Any:
    """The results of an op, which share storages as those of its kernel do."""
    key = (func, torch.get_num_threads(), *map(_seen, args))
    if key not in _RESULTS:
        with no_dispatch():
            zeros = tree_map_only(torch.Tensor, lambda x: torch.zeros(x.shape, dtype=x.dtype), args)
            results = func(*zeros)
            results = results if isinstance(results, tuple) else (results,)
            _RESULTS[key] = [None if one is None else _look(one, -i) for i, one in enumerate(results)]
    storages: dict[int, torch.Tensor] = {}
    with next(one for one in tree_leaves(args) if isinstance(one, FakeTensor)).fake_mode:
        made = tuple(None if look is None else _made(storages, *look) for look in _RESULTS[key])
    return made if len(made) > 1 else made[0]


def _look(x: torch.Tensor, name: int) -> tuple:
    """Shape, strides, data type, address and elements of the storage. name: stands for the address of an empty one."""
    storage = x.untyped_storage()
    return tuple(x.shape), x.stride(), x.dtype, storage.data_ptr() or name, storage.nbytes() // x.element_size()


def _made(storages: dict[int, Any], shape: Any, strides: Any, dtype: torch.dtype, address: int, elements: int) -> Any:
    """A tensor without data; one for all results of a storage."""
    if address not in storages:
        storages[address] = torch.empty(elements, dtype=dtype).as_strided(shape, strides)
    return storages[address]


def _seen(argument: Any) -> Any:
    """What a result depends on of an argument."""
    if isinstance(argument, torch.Tensor):
        return tuple(argument.shape), argument.dtype
    return tuple(argument) if isinstance(argument, list) else argument


def multiply_adds(func: Any, args: tuple) -> int:
    """Multiply-adds of a layer: each step multiplies the input and the state by their weights.

    Backward does so once for the gradients of these, and once for those of the weights.
    """
    steps, passes = args[0].shape[:2].numel(), 1 if func.overloadpacket is aten.mkldnn_rnn_layer else 2
    return passes * steps * (args[1].numel() + args[2].numel())
