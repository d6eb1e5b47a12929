"""One class per op. Importing this package registers them all."""

from . import activation, arithmetic, conv, join, layout, lean, linear, loss, matmul, noise, norm  # noqa: F401
from . import parameter, pool, resize, squash, view  # noqa: F401
