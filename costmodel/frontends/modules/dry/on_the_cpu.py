"""Runs ops on tensors without data, with the tensors that the CPU's kernels give."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

batch_norm = torch.ops.aten.native_batch_norm.default
batch_norm_backward = torch.ops.aten.native_batch_norm_backward.default
convolution = torch.ops.aten.convolution.default
convolution_backward = torch.ops.aten.convolution_backward.default

#: Ops with results of their own storages, which torch finds out in milliseconds.
SLOW = {convolution, convolution_backward, batch_norm, batch_norm_backward}
#: What the results of SLOW ops look like, by what they depend on.
_RESULTS: dict[tuple, list[tuple | None]] = {}
MOST_RESULTS = 4096


#: Ops whose kernels make a result as large as their first operands and then cut it down, which leaves its storage.
CUT_DOWN = {
    getattr(torch.ops.aten, name).default for name in ("mse_loss", "smooth_l1_loss", "binary_cross_entropy", "col2im")
}


def on_the_cpu(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The result of an op."""
    if func in CUT_DOWN:
        return _cut_down(func(*args, **kwargs), *args[: 1 if func.overloadpacket is torch.ops.aten.col2im else 2])
    fake = next((one for one in args if isinstance(one, FakeTensor)), None) if func in SLOW else None
    if fake is None:
        return func(*args, **kwargs)
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


def _cut_down(result: Any, *operands: torch.Tensor) -> Any:
    """A result in a storage that is as large as the operands, broadcast."""
    whole = torch.broadcast_shapes(*(one.shape for one in operands)).numel()
    if not isinstance(result, FakeTensor) or whole <= result.numel():
        return result
    with result.fake_mode:
        return torch.empty(whole, dtype=result.dtype).as_strided(result.shape, result.stride())


def _exactly(func: Any, args: tuple, result: Any) -> tuple:
    """The results of an op, with the tensors that the CPU's kernel gives."""
    if func is convolution:
        return (result,)
    if func is convolution_backward:
        return _with_the_weights_gradient(args, result)
    if func is batch_norm_backward:  # the last argument says which gradients are wanted
        return tuple(one if wanted else None for one, wanted in zip(result, args[-1]))
    return _with_exact_statistics(args[1], result)


def _with_exact_statistics(scale: torch.Tensor | None, result: tuple) -> tuple:
    """Batch norm keeps its statistics in the data type of its scale, not in that of a bfloat16 input."""
    if scale is None or result[1].dtype == scale.dtype or not result[1].numel():
        return result
    return result[0], *(statistic.to(scale.dtype) for statistic in result[1:])


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
    if not backend.name.startswith("Mkldnn"):
        return result
    return result[0], torch.empty_like(weight), result[2]
