"""Who counts: one small file per convention. Importing the package registers all of them, in the order of listings."""

from ._registry import CONVENTIONS, Convention, OwnWork, find
from ._kept import Kept, Read, each_read, value_of

from . import torch, lean, ideal, tinytl, mobiletl, gradient_filter, mcunetv3

__all__ = ["CONVENTIONS", "Convention", "Kept", "OwnWork", "Read", "each_read", "find", "value_of"]
