"""What the kernels of an op allocate beside its results.

Words:
- A setting is what an op's buffers depend on beside shapes: the target, the data type, what is demanded, how the
  tensors lie in memory (targets/setting.py).
- Scratch is memory that an op allocates and lets go while it runs. It is counted at its highest, beyond the results.
- The epilogue of an op are further nodes of its own through which backward goes after it has handed on its gradients.
- A parameter's gradient is recast if a kernel makes it with other strides than the parameter has, so that it is copied
  on arrival.
"""

from __future__ import annotations

from typing import NamedTuple

from ...sizes.size import Shape, Size
from ...targets.setting import Setting


class Scratch(NamedTuple):
    """Bytes of an op's scratch at its highest.

    forward, backward: of the two passes.
    after: of the epilogue, above the level when what the op kept is gone.
    stopped: at the moment when a second run stops inside the op, right after it has saved its inputs.
    """

    forward: Size = 0
    backward: Size = 0
    after: Size = 0
    stopped: Size = 0


NO_SCRATCH = Scratch()


class Kernels:
    """The hooks that tell what an op's kernels allocate."""

    def scratch(self, setting: Setting, y: Shape, *xs: Shape) -> Scratch:
        """Scratch of the op, for the output's and the inputs' shapes."""
        return NO_SCRATCH

    @property
    def has_epilogue(self) -> bool:
        """Whether the op has an epilogue."""
        return False

    def recast(self, setting: Setting) -> tuple[str, ...]:
        """Parameters whose gradient is recast."""
        return ()
