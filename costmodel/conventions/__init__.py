"""One small file per convention. Importing this package registers them all."""

from . import torch, lean, ideal, tinytl, mobiletl  # noqa: F401  isort:skip  (in the order of listings)
