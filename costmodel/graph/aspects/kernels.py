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

from ...sizes.size import Shape, Size
from ...targets.setting import Setting


class Kernels:
    """The hooks that tell what an op's kernels allocate."""

    def transients(self, setting: Setting, y: Shape, *xs: Shape) -> tuple[Size, Size]:
        """Bytes that the op needs at its highest beyond its results, in its forward and its backward pass."""
        return (0, 0)

    @property
    def has_epilogue(self) -> bool:
        """Whether the op has an epilogue."""
        return False

    def epilogue(self, setting: Setting, y: Shape, *xs: Shape) -> Size:
        """Scratch of the epilogue, above the level when what the op kept is gone."""
        return 0

    def unfinished(self, setting: Setting, y: Shape, *xs: Shape) -> Size:
        """Scratch at the moment when a second run stops inside this op, right after it has saved its inputs."""
        return 0

    def recast(self, setting: Setting) -> tuple[str, ...]:
        """Parameters whose gradient is recast."""
        return ()
