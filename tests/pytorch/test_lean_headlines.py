"""The savings of lean steps, measured: for MobileNetV2, and for one block as MobileTL's authors published them."""

from functools import partial

import pytest
import torch
from real import saved_bytes

from costmodel import estimate
from costmodel.pytorch import measure, realize
from specs import ONE_BLOCK

#: Measured for MobileNetV2, batch 8 at 224, contiguous.
measured = partial(measure, batch=8, resolution=224, target="cpu,threads=1")


@pytest.fixture(scope="module")
def full_peak():
    """The peak of the stock full fine-tune: 630,062,248 bytes with AVX-512."""
    return measured(realize("mobilenet_v2", "full")).step_peak_bytes


@pytest.mark.slow
def test_bias_saves_less_than_seven_megabytes(full_peak):
    step = measured(realize("mobilenet_v2", "bias", "lean"))
    assert step.saved_bytes == 6_180_100  # stock: 620.9 MB
    assert step.step_peak_bytes <= full_peak / 6  # 95,140,992: 6.6 times


@pytest.mark.slow
def test_bias_in_channels_last_has_a_lower_peak(full_peak):
    step = measured(realize("mobilenet_v2", "bias", "lean"), target="cpu,threads=1,channels_last")
    assert step.saved_bytes == 6_180_100
    assert step.step_peak_bytes <= full_peak / 11  # 56,899,584: 11.07 times


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["last", "mobiletl:5"])
def test_eight_prefix_slices_lower_the_peak_fifteenfold(strategy, full_peak):
    step = measured(realize("mobilenet_v2", f"{strategy},prefix_slices=8", "lean"))
    assert step.step_peak_bytes <= full_peak / 15  # 6,872,192 and 36,431,784: 91.7 and 17.3 times


@pytest.mark.parametrize("like, less", [("v2", 0.46), ("v3", 0.53)])
def test_a_mobiletl_block_saves_as_much_less_as_published(like, less, spec_file):
    """MobileTL, section 4: against plain fine-tuning of the block; here both lean, and a real run beside the model.

    Nothing is made again: where it is, plain fine-tuning of a block takes as little.
    """
    network = spec_file(ONE_BLOCK) if like == "v2" else "mobilenet_v3_small"

    def block_bytes(strategy, convention):
        asked = estimate(network, strategy, 8, convention=convention)
        (name,) = asked.graph.blocks[-1:]
        (predicted,) = (block["saved"] for block in asked.blocks if block["name"] == name)
        block = realize(network, strategy, convention).get_submodule(name)
        # The bytes that the block keeps for its own gradients, without those of the layers below and above it.
        assert predicted == saved_bytes(lambda: block(torch.randn(8, 96, 7, 7)), block)
        return predicted

    mobiletl, plain = (block_bytes(f"{strategy},recompute=none", "lean") for strategy in ("mobiletl:1", "blocks:1"))
    assert mobiletl <= (1 - less) * plain
    # Stock modules save nothing worth mentioning by MobileTL's rule: beside them the lean block saves as much less.
    assert mobiletl <= (1 - less) * block_bytes("mobiletl:1", "torch")
    assert block_bytes("mobiletl:1", "torch") >= 0.95 * block_bytes("blocks:1", "torch")
