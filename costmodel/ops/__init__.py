"""One class per op. Importing this package registers them all."""

from . import activation, arithmetic, conv, index, join, layout, lean, linear, loss, matmul, noise, norm  # noqa: F401
from . import parameter, pool, reduce, resize, squash, view  # noqa: F401
