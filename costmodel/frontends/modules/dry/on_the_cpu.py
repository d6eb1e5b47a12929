"""Runs ops on tensors without data, with the tensors that the CPU's kernels give."""

from __future__ import annotations

from typing import Any

import torch
from torch._prims_common import suggest_memory_format
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from .asking import ASKED, as_its_kernel_makes_it

aten = torch.ops.aten
batch_norm = aten.native_batch_norm.default
batch_norm_backward = aten.native_batch_norm_backward.default
convolution = aten.convolution.default
convolution_backward = aten.convolution_backward.default

#: Ops with results of their own storages, which torch finds out in milliseconds.
SLOW = {convolution, convolution_backward, batch_norm, batch_norm_backward}
#: What the results of SLOW ops look like, by what they depend on.
_RESULTS: dict[tuple, list[tuple | None]] = {}
MOST_RESULTS = 4096


#: How the names of oneDNN's kernels for convolutions begin. Python knows none for that of the transposed ones.
ONEDNN = ("Mkldnn", "???")
#: Kernels that make a result as large as their operands, broadcast, and then cut it down, which leaves its storage.
CUT_DOWN = {
    aten.mse_loss: 2, aten.smooth_l1_loss: 2, aten.soft_margin_loss: 2, aten.binary_cross_entropy: 2, aten.col2im: 1,
    aten.im2col: 1,
}  # fmt: skip
#: Kernels that copy the whole storage of their first operand, and write into the copy.
COPYING_STORAGES = {aten.select_scatter, aten.slice_scatter, aten.diagonal_scatter, aten.as_strided_scatter}
#: Norms, and the places of what gives their statistics a data type: scale, shift, and batch norm's running statistics.
MIXED = {aten.native_layer_norm: slice(2, 4), aten.native_group_norm: slice(1, 3), aten.native_batch_norm: slice(1, 5)}
#: Kernels whose results are contiguous, whatever their operands are.
CONTIGUOUS = {
    aten.log_sigmoid_forward, aten.rrelu_with_noise, aten.native_layer_norm_backward, aten.glu_backward,
    aten.mse_loss_backward, aten.smooth_l1_loss_backward, aten.huber_loss_backward, aten._log_softmax_backward_data,
}  # fmt: skip
#: Kernels whose results are contiguous, or channels_last if an operand is, by its place.
AS_IMAGES = {
    aten.native_batch_norm: 0, aten.native_batch_norm_backward: 1, aten.replication_pad2d_backward: 1,
    aten.reflection_pad2d_backward: 1, aten.max_unpool2d: 0, aten.channel_shuffle: 0, aten.roll: 0,
}  # fmt: skip
#: Kernels whose result lies as their first operand does.
AS_THE_FIRST = {aten.elu_backward, aten.softplus_backward, aten.hardswish_backward, aten.hardsigmoid_backward,
                aten.hardtanh_backward, aten.xlogy, aten.index_fill}  # fmt: skip


class OnTheCpu(TorchDispatchMode):
    """Within this, ops on tensors without data give what the CPU's kernels give, and nothing is counted."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        return on_the_cpu(func, args, kwargs or {})


def on_the_cpu(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The result of an op."""
    if func.overloadpacket in ASKED:
        return as_its_kernel_makes_it(func, args)
    fake = next((one for one in args if isinstance(one, FakeTensor)), None) if func in SLOW else None
    if fake is None:
        return _as_the_kernel_makes_it(func.overloadpacket, args, func(*args, **kwargs))
    key = (func, torch.get_num_threads(), *map(_seen, args))
    if key not in _RESULTS:
        result = _exactly(func, args, func(*args, **kwargs))
        if len(_RESULTS) >= MOST_RESULTS:
            _RESULTS.clear()
        _RESULTS[key] = [None if one is None else (one.shape, one.stride(), one.dtype) for one in result]
    with fake.fake_mode:
        made = tuple(
            None if look is None else torch.empty_strided(look[0], look[1], dtype=look[2]) for look in _RESULTS[key]
        )
    return made[0] if func is convolution else made


def _as_the_kernel_makes_it(op: Any, args: tuple, result: Any) -> Any:
    """A result with the strides and the storage that the CPU's kernel gives it."""
    if op in MIXED:
        result = _with_exact_statistics(args[MIXED[op]], result)
    if op is aten.native_group_norm_backward and result[0] is not None:  # of the input's data type
        result = result[0].to(args[1].dtype), *result[1:]
    if op in CUT_DOWN:
        whole = torch.broadcast_shapes(*(one.shape for one in args[: CUT_DOWN[op]])).numel()
        return _in_storage(result, result.stride(), whole)
    if op in COPYING_STORAGES:
        return _in_storage(result, result.stride(), args[0].untyped_storage().nbytes() // args[0].element_size())
    if op in CONTIGUOUS or op in AS_IMAGES:
        like = args[AS_IMAGES[op]] if op in AS_IMAGES else None
        last = like is not None and suggest_memory_format(like) is torch.channels_last
        return tree_map_only(FakeTensor, lambda one: _in_format(one, last), result)
    if op in AS_THE_FIRST and isinstance(result, FakeTensor) and result.shape == args[0].shape:
        with result.fake_mode:
            return torch.empty_like(args[0], dtype=result.dtype)
    return result


def _in_format(result: FakeTensor, channels_last: bool) -> torch.Tensor:
    """A result in one of the two memory formats."""
    last = torch.channels_last if channels_last and result.dim() == 4 else torch.contiguous_format
    if result.is_contiguous(memory_format=last):
        return result
    with result.fake_mode:
        return torch.empty(result.shape, dtype=result.dtype, memory_format=last)


def _in_storage(result: Any, strides: tuple[int, ...], elements: int) -> Any:
    """A result in a storage of this size."""
    if not isinstance(result, FakeTensor) or elements <= result.untyped_storage().nbytes() // result.element_size():
        return result
    with result.fake_mode:
        return torch.empty(elements, dtype=result.dtype).as_strided(result.shape, strides)


def _exactly(func: Any, args: tuple, result: Any) -> tuple:
    """The results of an op, with the tensors that the CPU's kernel gives."""
    if func is convolution:
        return (result,)
    if func is convolution_backward:
        return _with_the_weights_gradient(args, result)
    result = _as_the_kernel_makes_it(func.overloadpacket, args, result)
    if func is batch_norm_backward:  # the last argument says which gradients are wanted
        return tuple(one if wanted else None for one, wanted in zip(result, args[-1]))
    return tuple(result)


def _with_exact_statistics(beside: tuple[torch.Tensor | None, ...], result: tuple) -> tuple:
    """Norms keep their statistics in the data type of the first tensor beside their input, not in that of a bfloat16
    input, unless it is alone (is_mixed_type in aten/src/ATen/native/cpu/mixed_data_type.h).
    """
    first = next((one for one in beside if one is not None), result[0])
    if result[1].dtype == first.dtype or not result[1].numel():
        return result
    return result[0], *(statistic.to(first.dtype) for statistic in result[1:])


def _seen(argument: Any) -> Any:
    """What a result depends on of an argument."""
    if isinstance(argument, torch.Tensor):
        return tuple(argument.shape), argument.stride(), argument.dtype
    return tuple(argument) if isinstance(argument, list) else argument


def _with_the_weights_gradient(args: tuple, result: tuple) -> tuple:
    """oneDNN makes the gradients of a weight and a bias together, also where only the bias asks for one."""
    _, x, weight, bias_sizes, stride, padding, dilation, transposed, output_padding, groups, mask = args
    if result[1] is not None or not mask[2]:
        return result
    backend = torch._C._select_conv_backend(
        x,
        weight,
        bias=None,
        stride=stride,
        padding=padding,
        dilation=dilation,
        transposed=transposed,
        output_padding=output_padding,
        groups=groups,
        bias_sizes=bias_sizes,
    )
    if not backend.name.startswith(ONEDNN):
        return result
    return result[0], torch.empty_like(weight), result[2]
