"""One small file per strategy. Importing this package registers them all."""

from . import full, norm_last, bias, blocks, mobiletl, tinytl, last, inference, as_is, plan  # noqa: F401  isort:skip  (in order)
