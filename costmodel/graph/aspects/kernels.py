"""What the kernels of an op allocate besides its results.

Words:
- A setting is what an op's scratch depends on besides shapes: the target, the data type, the demanded gradients, the
  memory order of the tensors (targets/setting.py).
- Scratch is memory that an op allocates and frees while it runs. It is counted at its peak, beyond the results.
- An op is modelled in a setting if its rule gives its scratch to the byte. If not, the scratch of its tensors alone is
  counted, and the estimate says so.
- An op's epilogue is the part of its backward that runs after it has passed on its gradients, in autograd nodes of its
  own.
- A kernel resizes a result if it makes a tensor of another size first: the result lies in a storage of the larger size.
- A parameter's gradient is recast if a kernel makes it with other strides than the parameter's, so that autograd copies
  it.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from ...sizes.size import Shape, Size
from ...targets.setting import Setting


class Scratch(NamedTuple):
    """Bytes of an op's scratch at its peak.

    forward, backward: in the two passes.
    after: in the epilogue, above the level after what the op kept has been freed.
    stopped: at the moment when a second run stops inside the op, right after the op has saved its inputs.
    again: while its output, which was dropped, is made again.
    """

    forward: Size = 0
    backward: Size = 0
    after: Size = 0
    stopped: Size = 0
    again: Size = 0


NO_SCRATCH = Scratch()


class Kernels:
    """The hooks for what an op's kernels allocate."""

    #: Whether the op is modelled in 16 bits too, where many kernels sum in 32 bits.
    in_16_bits: ClassVar[bool] = False
    #: Whether torch computes it in 32 bits where its input has 16, and keeps more for that than is described.
    widens: ClassVar[bool] = False
    #: Whether its rules, and what it keeps, are those of the CPU's kernels alone.
    of_cpus: ClassVar[bool] = False

    #: Whether it multiplies matrices, which a GPU's library (cuBLAS) does.
    is_product: ClassVar[bool] = False

    #: Whether the kernels resize the output, and the gradient of the first input.
    resizes: ClassVar[bool] = False

    def storage(self, y: Shape, *xs: Shape) -> Shape:
        """Shape of the storages of the output and of the first input's gradient, if the kernels resize them."""
        return y

    def modelled(self, setting: Setting, y: Shape, *xs: Shape) -> Any:
        """Whether the op is modelled in a setting; an array of bools over a grid. y, xs: as for `scratch`."""
        return self.in_16_bits or setting.item >= 4

    def bounded(self, setting: Setting, y: Shape, *xs: Shape) -> Any:
        """Whether the kernels allocate at least `scratch`. If not, the tensors alone are the least that is known."""
        return self.modelled(setting, y, *xs)

    def scratch(self, setting: Setting, y: Shape, *xs: Shape) -> Scratch:
        """Scratch of the op in a setting. y, xs: shapes of the output and the inputs."""
        return NO_SCRATCH

    @property
    def has_epilogue(self) -> bool:
        """Whether the op has an epilogue."""
        return False

    def recast(self, setting: Setting) -> tuple[str, ...]:
        """Names of the parameters whose gradient is recast."""
        return ()
