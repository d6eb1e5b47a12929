"""Memory-lean layers: like the stock ones, but they keep only what the demanded gradients read.

Tensors are kept only through save_for_backward, where saved-tensor hooks see them; sizes are plain attributes. Where
the stock layer is lean already (a convolution with a trained weight, a norm with a trained scale), it does the work.
"""

from .convolutions import FoldedConv2d, FoldedNorm2d, LeanConv2d, fold
from .forms.inplace_norm import FrozenInplaceActivatedNorm2d, InplaceActivatedNorm2d
from .forms.patches import PatchedConv2d
from .forms.pruned import PrunedConv2d, PrunedLinear
from .forms.quantised import (
    FrozenQuantisedBatchNorm2d,
    QuantisedActivation,
    QuantisedBatchNorm2d,
    QuantisedConv2d,
    QuantisedLinear,
)
from .forms.sliced import SlicedConv2d
from .masked import MaskedActivation, PackedDropout
from .norms import LeanGroupNorm, ShiftNorm2d
from .pooling import LeanAdaptiveAvgPool2d, LeanAvgPool2d, LeanMaxPool2d
from .remade import (
    FrozenRemadeNorm2d,
    Passed,
    RemadeGroupNorm,
    RemadeNorm2d,
    RemakingAdd,
    RemakingConv2d,
    RemakingDepth,
    RemakingMul,
    RemakingStandardisedConv2d,
)
from .standardised import LeanStandardisedConv2d
from .stretch import FrozenConv2d, LeavingAdd

__all__ = [
    "FoldedConv2d",
    "FoldedNorm2d",
    "FrozenConv2d",
    "FrozenInplaceActivatedNorm2d",
    "FrozenQuantisedBatchNorm2d",
    "FrozenRemadeNorm2d",
    "InplaceActivatedNorm2d",
    "LeanAdaptiveAvgPool2d",
    "LeanAvgPool2d",
    "LeanConv2d",
    "LeanGroupNorm",
    "LeanMaxPool2d",
    "LeanStandardisedConv2d",
    "LeavingAdd",
    "MaskedActivation",
    "PackedDropout",
    "Passed",
    "PatchedConv2d",
    "PrunedConv2d",
    "PrunedLinear",
    "QuantisedActivation",
    "QuantisedBatchNorm2d",
    "QuantisedConv2d",
    "QuantisedLinear",
    "RemadeGroupNorm",
    "RemadeNorm2d",
    "RemakingAdd",
    "RemakingConv2d",
    "RemakingDepth",
    "RemakingMul",
    "RemakingStandardisedConv2d",
    "ShiftNorm2d",
    "SlicedConv2d",
    "fold",
]
