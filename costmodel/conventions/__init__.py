"""One small file per convention. Importing this package registers them all."""

from . import ideal, torch  # noqa: F401
