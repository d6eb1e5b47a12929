"""One class per op. Importing this package registers them all."""

from . import activation, arithmetic, conv, conv1d, index, join, layout, lean, linear, loss, matmul  # noqa: F401
from . import noise, norm, parameter, pool, reduce, resize, squash, view  # noqa: F401
