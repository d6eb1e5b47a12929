"""One small file per strategy. Importing this package registers them all."""

from . import full, norm_last, bias, blocks, tinytl, last, inference  # noqa: F401  isort:skip  (in the order of listings)
