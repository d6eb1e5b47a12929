"""One class per op. Importing this package registers them all."""

from . import activation, conv, join, lean, linear, loss, noise, norm, pool, resize, view  # noqa: F401
