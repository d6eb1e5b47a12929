"""Sixty of timm's networks outside the mobile families: docs/timm.md says how they were drawn."""

import pytest

import costmodel
from costmodel.frontends import load_or_dry
from costmodel.frontends.modules.imports import imported
from costmodel.pytorch.validate import compared, here, own_module

#: (name, the smallest side at which it runs).
SIXTY = (
    ("mixer_s16_224", 224),
    ("efficientformer_l7", 224),
    ("resnext101_32x8d", 32),
    ("resnest50d", 32),
    ("ecaresnext26t_32x4d", 32),
    ("regnetx_160", 32),
    ("levit_conv_512d", 32),
    ("cspnext_tiny", 32),
    ("swiftformer_s", 32),
    ("swinv2_cr_small_224", 32),
    ("volo_d3_448", 448),
    ("convnext_zepto_rms", 32),
    ("mvitv2_base_cls", 32),
    ("resnet50x4_clip_gap", 32),
    ("vit_betwixt_patch16_gap_256", 32),
    ("vit_base_patch16_rope_ape_224", 32),
    ("gcvit_tiny", 32),
    ("crossvit_18_dagger_240", 240),
    ("vit_pe_core_small_patch16_384", 32),
    ("volo_d2_224", 224),
    ("levit_conv_384", 32),
    ("volo_d1_224", 224),
    ("swinv2_tiny_window8_256", 32),
    ("vit_small_patch16_rope_mixed_224", 32),
    ("vit_pe_core_tiny_patch16_384", 32),
    ("swiftformer_xs", 32),
    ("vit_medium_patch16_gap_384", 32),
    ("edgenext_small_rw", 32),
    ("deit_base_distilled_patch16_384", 32),
    ("poolformerv2_s24", 32),
    ("swin_tiny_patch4_window7_224", 32),
    ("mambaout_tiny", 32),
    ("beit_base_patch16_224", 32),
    ("botnet26t_256", 256),
    ("seresnet50", 32),
    ("efficientvit_b3", 32),
    ("test_vit3", 32),
    ("crossvit_18_240", 240),
    ("maxxvit_rmlp_nano_rw_256", 32),
    ("nf_regnet_b1", 32),
    ("seresnext101_32x4d", 32),
    ("dla60x_c", 32),
    ("gcresnet33ts", 32),
    ("hiera_tiny_224", 224),
    ("sam2_hiera_tiny", 32),
    ("ecaresnetlight", 32),
    ("seresnet200d", 32),
    ("xcit_nano_12_p16_384", 32),
    ("cpubone_s0", 32),
    ("swinv2_cr_small_ns_224", 32),
    ("vit_pe_spatial_small_patch16_512", 32),
    ("xcit_small_12_p8_224", 32),
    ("cs3sedarknet_x", 32),
    ("botnet50ts_256", 256),
    ("seresnet152d", 32),
    ("efficientformerv2_s1", 224),
    ("qwen3_vit_88m", 32),
    ("volo_d2_384", 384),
    ("pit_s_224", 32),
    ("pit_s_distilled_224", 32),
)


def module_of(name, side):
    """The module, made for images of this side if it is made for a size."""
    timm = imported("timm")
    module = timm.create_model(name, pretrained=False)
    if hasattr(getattr(module, "patch_embed", None), "img_size") or "swin" in name or "vit" in name:
        try:
            return timm.create_model(name, pretrained=False, img_size=side)
        except (AssertionError, TypeError, RuntimeError):
            pass
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name, side", SIXTY)
def test_a_network_is_exact(name, side):
    network, run = load_or_dry(module_of(name, side), resolution=side), {"target": here("cpu")}
    predicted = costmodel.estimate(network, "full", 2, side, **run)
    alone = costmodel.estimate(network, "full", 2, side, target="none")
    assert alone.certainty.saved in ("checked", "dry")
    for check in compared(own_module(network.at(side, 2), predicted), predicted, alone, network, run):
        assert check.holds, check
