"""A dry step: what a module's own autograd does in one training step, found on tensors without data."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from .inputs import Inputs

#: What a KernelCall is of.
CONVOLUTION, BATCH_NORM, MAX_POOL, AVG_POOL, UNFOLD = "convolution", "batch_norm", "max_pool2d", "avg_pool2d", "unfold"


class Saved(NamedTuple):
    """A storage that autograd keeps for the backward pass. where: path of the module that kept it first."""

    where: str
    shape: tuple[int, ...]
    saved_bytes: int


class Parameter(NamedTuple):
    """A parameter of the module. dtype: its data type by name. item_bytes: of each of its numbers."""

    shape: tuple[int, ...]
    dtype: str
    item_bytes: int

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return self.item_bytes * self.elements


class KernelCall(NamedTuple):
    """The maps that the kernel of an op takes.

    kind: CONVOLUTION, BATCH_NORM, MAX_POOL, AVG_POOL or UNFOLD. shape: of the input. x, gradient, weight: whether the
    input, in the backward pass the output's gradient, and of a convolution the weight is contiguous, and whether it is
    channels_last.
    """

    kind: str
    shape: tuple[int, ...]
    x: tuple[bool, bool]
    gradient: tuple[bool, bool] | None
    weight: tuple[bool, bool] | None = None


class DryStep(NamedTuple):
    """The cost of one training step of a module as PyTorch itself runs it, without data.

    saved: every distinct storage that is kept, parameters and buffers left out. unseen_bytes: what is alive after the
    forward pass besides these and the loss: a custom function keeps it beside autograd, or the module keeps it.
    flops: by the keys of an estimate's `flops` that a run can tell. forward_flops_of: the forward FLOPs by path of the
    module. paths: of all modules. parameters: all of them, by path. buffers_bytes: of all buffers. targets_bytes: of
    the loss's targets. trained: paths of the parameters that get a gradient. tensor_peak_bytes, left_bytes: levels of
    the tensors above the level before the step, at the highest and at the end. has_loss: whether there was a backward
    pass. is_random: whether the step runs other ops when chance falls otherwise.
    first: (saved bytes, tensors' peak, bytes left) of the first step where later ones, to which the rest applies,
    differ from it. is_unsteady: whether later ones differ from each other too. counters: paths of numbers that the
    module changes in each step. calls: the maps that the watched kernels took. crashes: whether torch ends the process
    in a real step (a group norm of channels_last images that need no gradient). fused: paths of layers of attention
    that a real step runs by one kernel, and the dry step by its parts.
    """

    saved: tuple[Saved, ...]
    unseen_bytes: int
    flops: dict[str, int]
    forward_flops_of: dict[str, int]
    paths: frozenset[str]
    parameters: dict[str, Parameter]
    buffers_bytes: int
    targets_bytes: int
    trained: frozenset[str]
    tensor_peak_bytes: int
    left_bytes: int
    has_loss: bool = True
    is_random: bool = False
    first: tuple[int, int, int] | None = None
    is_unsteady: bool = False
    counters: tuple[str, ...] = ()
    calls: frozenset[KernelCall] = frozenset()
    crashes: bool = False
    fused: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[int, int, int]:
        """Saved bytes, the tensors' peak and the bytes left."""
        return self.saved_bytes, self.tensor_peak_bytes, self.left_bytes

    @property
    def parameters_bytes(self) -> int:
        """Bytes of all parameters."""
        return sum(one.nbytes for one in self.parameters.values())

    @property
    def saved_bytes(self) -> int:
        """Bytes of everything that is kept."""
        return sum(one.saved_bytes for one in self.saved)


#: Runs a dry step: setting, loss (unless the network has its own), inputs, batch, data type or "" for the module's own,
#: whether images are in channels_last, the number of threads, and the data type of torch.autocast or "" without.
RunDry = Callable[["Setting", Any, Inputs, int, str, bool, int, str], DryStep]


class Setting(NamedTuple):
    """What a strategy sets in a module: which parameters train, and which modules evaluate.

    None leaves the module's own. trains: paths of the parameters that train. evaluates: paths of the modules in
    evaluation mode; all others are in training mode. has_loss: whether there is a backward pass; without one, all
    modules evaluate.
    """

    trains: frozenset[str] | None
    evaluates: frozenset[str] | None
    has_loss: bool
