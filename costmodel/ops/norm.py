"""Normalisation."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from typing import Any

from ..graph.aspects.formula import OF_PARAMETERS
from ..graph.op import Extra, Op, Scratch, Stock, Work, check, op
from ..sizes.size import Shape, Size, maximum, numel, require, where
from ..targets.memory_order import CHANNELS_LAST, MemoryOrder, contiguous, differs, of_images
from ..targets.setting import SUM_BYTES, Setting

#: Pixels of a map in channels_last, from which on threads of a group norm share it: forward, and backward
#: (aten/src/ATen/native/cpu/group_norm_kernel.cpp: feature_map_threshold).
LARGE, LARGE_BACKWARD = 1024, 2048


@op("batch_norm")
class BatchNorm(Op):
    """torch.nn.BatchNorm2d: (N, C, H, W) -> the same. `statistics`: the batch's, or the frozen running ones.

    dims: 1 for torch.nn.BatchNorm1d, on (N, C) or (N, C, L), 3 for BatchNorm3d. affine: has a scale and a shift.
    """

    channels: int
    statistics: str = "batch"
    eps: float = 1e-5
    momentum: float = 0.1
    dims: int = 2
    affine: bool = True

    is_norm = True
    in_16_bits = True

    @property
    def timed_as(self) -> tuple[str, ...]:
        return ("batch_norm" if self.statistics == "batch" else "frozen_norm",)

    def __post_init__(self) -> None:
        check(self.channels >= 1, f"channels is {self.channels}; allowed: >= 1")
        check(self.statistics in ("batch", "frozen"), f"statistics is {self.statistics!r}; allowed: batch, frozen")
        check(self.dims in (1, 2, 3), f"dims is {self.dims}; allowed: 1, 2, 3")

    @classmethod
    def infer(cls, x: Shape) -> dict[str, int]:
        return {"channels": x[1]}

    def frozen(self) -> Op:
        return replace(self, statistics="frozen")

    def params(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.channels,), "bias": (self.channels,)} if self.affine else {}

    def buffers(self) -> dict[str, Extra]:
        per_channel = Extra((self.channels,))
        return {"running_mean": per_channel, "running_var": per_channel, "num_batches_tracked": Extra((), 64)}

    def shape(self, x: Shape) -> Shape:
        fits = len(x) - 2 == self.dims or (self.dims == 1 and len(x) == 2)
        require(fits, f"batch_norm takes (N, C, {', '.join('DHW'[-self.dims :])}), the input is {{}}", x)
        require(x[1] == self.channels, "the input has {} channels, the norm takes {}", x[1:2], (self.channels,))
        if self.statistics == "batch":
            # torch.nn.functional._verify_batch_size refuses this too.
            require(x[0] * numel(x[2:]) > 1, "batch statistics of one value per channel (input {})", x)
        return x

    # aten::native_batch_norm_backward is one call, so native_batch_norm keeps its input if any of input, weight or bias
    # needs a gradient, with frozen statistics too.
    stock = Stock(
        joint=True, excuse="stock batch norms keep their input even where their scale and statistics are frozen"
    )

    def needs(self) -> dict[str, tuple[str, ...]]:
        # Batch statistics, x^ = (x - mean) * invstd: dx = weight * invstd * (g - sum(g)/m - x^ * sum(g * x^)/m).
        # Frozen: dx = g * weight / sqrt(var + eps), no activation read.
        weight = ("weight",) if self.affine else ()
        if self.statistics == "batch":
            needs = {"x": ("x", "mean", "invstd", *weight), "weight": ("x", "mean", "invstd"), "bias": ()}
        else:
            needs = {"x": ("running_var", *weight), "weight": ("x", "running_mean", "running_var"), "bias": ()}
        return of_own(self, needs)

    def torch_needs(self) -> dict[str, tuple[str, ...]]:
        # The joint call takes x even if there is no scale whose gradient would read it.
        needs = self.needs()
        return needs if self.affine else {"x": tuple(dict.fromkeys((*needs["x"], "x")))}

    @property
    def is_plain(self) -> bool:
        """Whether this is a norm of images with scale and shift, the only kind that has lean forms."""
        return self.dims == 2 and self.affine

    def saves_late(self, operands: Set[str]) -> bool:
        return True  # with frozen statistics too: two empty tensors

    def extras(self, x: Shape) -> dict[str, Extra]:
        # With frozen statistics torch's save_mean and save_invstd are empty.
        return dict.fromkeys(("mean", "invstd"), Extra((self.channels,), OF_PARAMETERS))

    def layout(self, axes: int, *xs: MemoryOrder) -> MemoryOrder:
        return of_images(xs[0])

    def gradient_layout(self, gradient: MemoryOrder, y: MemoryOrder, x: MemoryOrder) -> MemoryOrder:
        return of_images(x)

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        n = numel(y)
        if self.statistics == "frozen":
            # y = x * a + b; dx = g * a; dweight = sum(g * (x - mean) * invstd); dbias = sum(g).
            work = {"forward": Work(0, 2 * n), "x": Work(0, n), "weight": Work(0, 4 * n), "bias": Work(0, n)}
        else:
            work = with_statistics(n)
        return of_own(self, work)

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        if setting.item < SUM_BYTES and not (self.affine and setting.takes_gradient_whole()):
            return False
        return super().modelled(setting, y, x) and takes(setting, x)

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        return batch_norm_scratch(setting, self.channels, self.statistics == "batch", self.affine, y, x)

    def module(self, library: Any) -> Callable:
        home, name = (library.nn, "BatchNorm") if self.statistics == "batch" else (library, "FrozenBatchNorm")
        return getattr(home, f"{name}{self.dims}d")(self.channels, self.eps, self.momentum, self.affine)


def takes(setting: Setting, x: Shape) -> Any:
    """Whether a batch norm's input is contiguous or channels_last; a map of one pixel only in a usual tensor."""
    matters = setting.is_mixed or setting.layouts and setting.target.channels_last
    return setting.is_regular(x) & (numel(x[2:]) > 1) if matters else setting.is_regular(x)


def batch_norm_scratch(setting: Setting, channels: Size, batch: bool, affine: bool, y: Shape, x: Shape) -> Scratch:
    """Scratch of a batch norm. batch: it takes the batch's statistics. affine: it has a scale and a shift."""
    # aten/src/ATen/native/Normalization.cpp, cpu/batch_norm_kernel.cpp. Forward: sums of the statistics, then the
    # folded scale and shift, always float32. Backward: the gradient map is allocated twice, the first time for nothing.
    # The channels_last kernels, which also run on 1x1 maps, sum per thread.
    per_channel = setting.item * channels
    # Without a backward pass the batch statistics are freed when the forward pass ends.
    statistics = 2 * setting.parameter_item * channels if batch and not setting.recorded else 0
    if not setting.kernels:
        return Scratch(statistics)
    target = setting.target
    pixels = numel(x[2:])
    # One channel lies in both orders, and is taken to be contiguous.
    by_channel = (pixels == 1) | ((setting.channels_last and len(x) == 4) & (channels > 1))
    threads, narrow = target.threads * setting.sum_item * channels, setting.item < SUM_BYTES
    summed = by_channel & (narrow | (x[0] * pixels > target.threads))
    half = setting.dtype == "float16"  # its statistics are in 32 bits until they are kept
    sums = where(summed, threads, 0) + (8 * channels if half else 2 * per_channel) if batch else 0
    forward = statistics + maximum(sums, 8 * channels)
    # The root of a stored variance; ones for a scale. Of 16 bits, statistics and scale are brought into 32.
    more = 3 * setting.sum_item if narrow else setting.item * ((not batch) + (not affine))
    backward = where(by_channel, 2 * threads + more * channels, 0)
    if "x" in setting.demanded:
        backward = maximum(backward, setting.item * numel(x))
    if setting.layouts:
        # If input or gradient is not dense in that format, a loop over channels allocates the map only once.
        order = (CHANNELS_LAST if setting.channels_last else contiguous(4)).order
        mixed = differs(setting.layouts[0], x, order) | differs(setting.gradient or setting.layouts[0], y, order)
        backward = where(mixed, (0 if half else per_channel) + setting.channel_sums(y), backward)
    return Scratch(forward, backward)


def with_statistics(n: Size) -> dict[str, Work]:
    # Forward: sum(x), sum((x - mean)^2), then x * a + b. The two sums in dx are the gradients of weight and bias.
    return {"forward": Work(0, 6 * n), "x": Work(0, 6 * n), "weight": Work(0, 4 * n), "bias": Work(0, n)}


def of_own(norm: Op, amounts: dict[str, Any]) -> dict[str, Any]:
    """The entries for the forward pass, the input, and the parameters that a norm has."""
    return {name: amount for name, amount in amounts.items() if name in ("forward", "x") or name in norm.params()}


def statistics_bits(norm: Op) -> int | None:
    """Bits of the statistics of a norm without running ones: they have the data type of its parameters, if any."""
    return OF_PARAMETERS if norm.params() else None


@op("group_norm")
class GroupNorm(Op):
    """torch.nn.GroupNorm: (N, C, ...) -> the same. Each image has its own statistics, so none can be frozen.

    per_group: channels of a group, given in place of `groups`. affine: has a scale and a shift; bias: has the shift.
    """

    groups: int = 0
    channels: int = 0
    eps: float = 1e-5
    per_group: int = 0
    affine: bool = True
    bias: bool = True

    is_norm = True

    @property
    def timed_as(self) -> tuple[str, ...]:
        return ("group_norm",)

    def __post_init__(self) -> None:
        if self.per_group:
            check(self.groups == 0, f"groups {self.groups} beside per_group {self.per_group}; allowed: one of the two")
            check(
                self.per_group >= 1 and self.channels % self.per_group == 0,
                f"per_group {self.per_group} does not divide channels {self.channels}",
            )
            object.__setattr__(self, "groups", self.channels // self.per_group)
            object.__setattr__(self, "per_group", 0)
        check(self.groups >= 1, f"groups is {self.groups}; allowed: >= 1")
        check(
            self.channels >= 1 and self.channels % self.groups == 0,
            f"groups {self.groups} does not divide channels {self.channels}",
        )

    @classmethod
    def infer(cls, x: Shape) -> dict[str, int]:
        return {"channels": x[1]}

    def params(self) -> dict[str, tuple[int, ...]]:
        names = ("weight", "bias") if self.affine and self.bias else ("weight",) if self.affine else ()
        return dict.fromkeys(names, (self.channels,))

    def shape(self, x: Shape) -> Shape:
        require(len(x) >= 2, "group_norm takes (N, C, ...), the input is {}", x)
        require(x[1] == self.channels, "the input has {} channels, the norm takes {}", x[1:2], (self.channels,))
        return x

    stock = Stock(joint=True)  # aten::native_group_norm_backward, as for batch norm

    def needs(self) -> dict[str, tuple[str, ...]]:
        weight = ("weight",) if self.affine else ()
        needs = {"x": ("x", "mean", "rstd", *weight), "weight": ("x", "mean", "rstd"), "bias": ()}
        return of_own(self, needs)

    layout, gradient_layout = BatchNorm.layout, BatchNorm.gradient_layout

    def extras(self, x: Shape) -> dict[str, Extra]:
        return dict.fromkeys(("mean", "rstd"), Extra((x[0], self.groups), statistics_bits(self)))

    def work(self, y: Shape, x: Shape) -> dict[str, Work]:
        return of_own(self, with_statistics(numel(y)))

    def modelled(self, setting: Setting, y: Shape, x: Shape) -> Any:
        known = setting.item >= SUM_BYTES or self.affine and self.bias and setting.takes_gradient_whole()
        copies = len(x) == 4 and setting.channels_last and setting.gradient is not None
        return known and x[2] * x[3] < LARGE if copies else known  # then threads share the map

    def scratch(self, setting: Setting, y: Shape, x: Shape) -> Scratch:
        # aten/src/ATen/native/group_norm.cpp: mean and rstd are results; backward sums g and g * x for each image
        # and channel.
        item = setting.parameter_item if self.affine else setting.item
        statistics = 0 if setting.recorded else 2 * item * x[0] * self.groups
        if not setting.kernels:
            return Scratch(statistics, setting.copy_of_gradient(y))  # the copy is a tensor of its own
        sums = 2 * setting.sum_item * x[0] * self.channels
        flat = 0
        if (
            len(x) == 4 and setting.channels_last and self.channels > 1
        ):  # then both passes sum per channel; of larger maps, in each thread
            pixels, shared = x[2] * x[3], setting.target.threads * sums + 2 * setting.sum_item * x[0] * self.groups
            flat = where(pixels == 1, 0, where(pixels >= LARGE, shared, sums))  # one pixel lies as ever
            sums = sums + where(pixels >= LARGE_BACKWARD, shared, 0)
        return Scratch(statistics + flat, sums + setting.copy_of_gradient(y))

    def module(self, library: Any) -> Callable:
        norm = library.nn.GroupNorm(self.groups, self.channels, self.eps, self.affine)
        if self.affine and not self.bias:
            norm.register_parameter("bias", None)
        return norm


BatchNorm.examples = (
    (BatchNorm(8), (2, 8, 5, 3)),
    (BatchNorm(8, statistics="frozen"), (2, 8, 5, 3)),
    (BatchNorm(6), (2, 6, 1, 1)),
    (BatchNorm(6, dims=1), (3, 6)),
    (BatchNorm(6, "frozen", dims=1), (2, 6, 5)),
    (BatchNorm(6, affine=False), (2, 6, 4, 4)),
    (BatchNorm(6, "frozen", affine=False), (2, 6, 4, 4)),
)
GroupNorm.examples = (
    (GroupNorm(2, 8), (2, 8, 5, 3)),
    (GroupNorm(3, 6), (1, 6, 4, 4)),
    (GroupNorm(3, 6, bias=False), (1, 6, 4, 4)),
    (GroupNorm(3, 6, affine=False), (1, 6, 4, 4)),
)
