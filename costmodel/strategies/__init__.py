"""What trains: one small file per strategy. Importing the package registers all of them, in the order of listings."""

from ._parts import (
    CHOICES,
    FROZEN,
    FULL,
    PLAN,
    Choice,
    Part,
    all_frozen,
    choices_of,
    chosen_parts,
    forms,
    is_checkpointed,
    named,
    of_code,
    part_names,
    parts,
)
from ._attention import in_parts_where_masks_train
from ._registry import MODIFIERS, STRATEGIES, Strategy, possible, usual
from ._apply import apply, read, with_loss
from ._setting import in_own_modes, setting_of
from ._text import StrategyText, read_text, split_list

from . import full, norm_last, bias, blocks, mobiletl, tinytl, last, inference, as_is, by_part, layers
from . import repnet, lora, da3, gradfilter, sparse, backrazor, quantised, iabn

__all__ = [
    "CHOICES", "FROZEN", "FULL", "MODIFIERS", "PLAN", "STRATEGIES", "Choice", "Part", "Strategy", "StrategyText",
    "all_frozen", "apply", "choices_of", "chosen_parts", "forms", "in_own_modes", "in_parts_where_masks_train",
    "is_checkpointed", "named", "of_code", "part_names", "parts", "possible", "read", "read_text", "setting_of",
    "split_list", "usual", "with_loss",
]  # fmt: skip
