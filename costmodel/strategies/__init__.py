"""One small file per strategy. Importing this package registers them all."""

from . import bias, blocks, full, inference, last, norm_last  # noqa: F401
