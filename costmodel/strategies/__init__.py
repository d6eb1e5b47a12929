"""One small file per strategy. Importing this package registers them all."""

from . import full, norm_last, bias, blocks, mobiletl, last, inference, as_is  # noqa: F401  isort:skip  (in the order of listings)
