"""Where a step runs: what decides the scratch of its kernels and the rounding of its blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

from ..sizes.size import Shape, Size


class ConvolutionKernels:
    """The kernels of a convolution in a setting; by default they allocate nothing inside."""

    def __call__(self, y: Shape, x: Shape) -> tuple[Size, Size]:
        """The scratch in the forward and in the backward pass. y, x: shapes of the output and the input."""
        return 0, 0

    def modelled(self, y: Shape, x: Shape) -> Any:
        """Whether they allocate just that; an array of bools over a grid."""
        return True

    def bounded(self, y: Shape, x: Shape) -> Any:
        """Whether they allocate at least that."""
        return True


class Option(NamedTuple):
    """An option of a device as people write it.

    read: from the text after the equals sign, None without one, to the value; raises ValueError for a bad one.
    allowed: words for what it takes.
    """

    read: Callable[[str | None], Any]
    allowed: str


class OwnKernels(NamedTuple):
    """Which kernels lean layers call instead of stock ones (pytorch/lean/gradients.py) on a kind of processor.

    Pointwise convolutions are products of matrices, and frozen blocks run in channels_last (ops/lean_folded.py).
    dtypes: in which they are products. on_threads: the gradient of the input of channels_last maps is one on several
    threads, too. of_weights: so may be the weight's. copies: a product copies a second matrix that is transposed.
    windows: gradients of depthwise weights are made in windows of columns.
    """

    dtypes: tuple[str, ...]
    on_threads: bool
    of_weights: bool
    copies: bool
    windows: bool


@dataclass(frozen=True)
class Target:
    """A device: each kind is a subclass, in a file of its own, registered by `device`.

    threads: of its kernels. channels_last: the memory format of images, else contiguous.
    """

    #: The name that people give.
    device: ClassVar[str]
    #: Its options by name, each a field.
    options: ClassVar[dict[str, Option]] = {}
    #: What kernels allocate inside counts, and not only tensors.
    counts_kernels: ClassVar[bool] = False
    #: A tensor counts that only the allocator sees, and not PyTorch's dispatcher.
    counts_unseen: ClassVar[bool] = True
    #: Optimizers of torch update all parameters at once (foreach=True) unless they are told otherwise.
    takes_foreach: ClassVar[bool] = False
    #: Real runs on it have confirmed what is said of its tensors and kernels.
    is_confirmed: ClassVar[bool] = True
    #: Some of its kernels' calls were measured.
    is_probed: ClassVar[bool] = False
    #: Every allocation is rounded up to a multiple of these bytes.
    block_bytes: ClassVar[int] = 1
    #: Numbers of images from which on kernels take other paths.
    thresholds: ClassVar[tuple[int, ...]] = ()

    threads: int = 1
    channels_last: bool = False
    #: The options that were found out of this machine, and not given.
    detected: tuple[str, ...] = field(default=(), compare=False, repr=False, kw_only=True)

    @classmethod
    def here(cls) -> Target:
        """The device with what this machine tells of its options."""
        return cls()

    @classmethod
    def made(cls, given: dict[str, Any]) -> Target:
        """The device with the options that are given, and else with what this machine tells. Raises CostmodelError."""
        return replace(cls.here(), **given)

    @property
    def is_modelled(self) -> bool:
        """Whether anything is known of what its kernels allocate inside; if not, the tensors alone are counted."""
        return True

    @property
    def has_rules(self) -> bool:
        """Whether the ops' rules hold for its kernels."""
        return self.is_modelled

    def knows(self, dtype: str) -> bool:
        """Whether the rules for convolutions and matrix products hold for a data type."""
        return True

    def measured(self, call: str) -> tuple[int, int] | None:
        """Bytes that were measured beside the results of a call, forward and backward; None if it was not probed."""
        return None

    def convolution(self, conv: Any, setting: Any) -> ConvolutionKernels:
        """The scratch of a convolution (ops/conv.py) in a setting (setting.py); none if kernels are not modelled."""
        return ConvolutionKernels()

    def number_bytes(self, item: int) -> int:
        """Bytes of a number in arithmetic with a tensor, made within an op; item: of the tensor's data type."""
        return 0

    def python_number_bytes(self, item: int) -> int:
        """Bytes of a number that Python hands to an op; item: of the tensor's data type."""
        return self.number_bytes(item)

    @property
    def own_kernels(self) -> OwnKernels | None:
        """Which kernels lean layers call instead of stock ones; None if they call none."""
        return None

    def linear(self, setting: Any, rows: Size, inputs: int, outputs: int) -> tuple[Size, Size]:
        """The scratch of a linear layer in the forward and in the backward pass. rows: of its input, as a matrix."""
        return 0, 0

    def knows_linear(self, setting: Any, rows: Size) -> Any:
        """Whether that is known in 16 bits."""
        return False

    @property
    def period(self) -> int:
        """A number of batches after which most sizes have the same remainder in blocks: images take multiples of 32."""
        return max(1, self.block_bytes // 32)

    def rounded(self, nbytes: Size) -> Size:
        """Bytes that an allocation takes: whole blocks."""
        block = self.block_bytes
        return nbytes if block == 1 else -(-nbytes // block) * block

    @property
    def memory_format(self) -> str:
        """The memory format of images in words."""
        return "channels_last" if self.channels_last else "contiguous"

    @property
    def text(self) -> str:
        """What people give to name this target, on any machine."""
        return self.spelled

    @property
    def spelled(self) -> str:
        """The device with all its options as people write them."""
        values = ((name, getattr(self, name)) for name in self.options)
        given = (name if value is True else f"{name}={value}" for name, value in values if value not in (False, None))
        return ",".join([self.device, *given])

    def to_dict(self) -> dict[str, Any]:
        """What the estimate assumes, for JSON."""
        raise NotImplementedError


DEVICES: dict[str, type[Target]] = {}


def device(name: str) -> Callable[[type[Target]], type[Target]]:
    """Class decorator: registers a kind of target as the device `name`."""

    def register(cls: type[Target]) -> type[Target]:
        cls.device = name
        DEVICES[name] = cls
        return cls

    return register


def whole_number(most: int) -> Callable[[str | None], int]:
    """Reader of an option that is an integer from 1 to `most`."""

    def read(text: str | None) -> int:
        if text is None or not text.isdecimal() or not 1 <= int(text) <= most:
            raise ValueError
        return int(text)

    return read


def one_of(names: tuple[str, ...]) -> Callable[[str | None], str]:
    """Reader of an option that is one of some names."""

    def read(text: str | None) -> str:
        if text not in names:
            raise ValueError
        return text

    return read


def flag(text: str | None) -> bool:
    """Reader of an option that is there or not."""
    if text is not None:
        raise ValueError
    return True


MOST_THREADS = 1024
THREADS = Option(whole_number(MOST_THREADS), f"threads=1 to threads={MOST_THREADS}")
CHANNELS_LAST = Option(flag, "channels_last")
