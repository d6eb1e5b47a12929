"""One class per op. Importing this package registers them all."""

from . import activation, conv, join, lean, linear, loss, noise, norm, pool, view  # noqa: F401
