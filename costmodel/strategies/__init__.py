"""What trains: one small file per strategy. Importing this package registers them all, in the order of listings."""

from ._parts import CHOICES, SUMMARIES, Part, parts
from ._registry import STRATEGIES, Strategy, apply, possible, read, usual, with_loss

from . import full, norm_last, bias, blocks, mobiletl, tinytl, last, inference, as_is, by_part  # isort: skip

__all__ = ["CHOICES", "STRATEGIES", "SUMMARIES", "Part", "Strategy", "apply", "parts", "possible", "read", "usual",
           "with_loss"]  # fmt: skip
