"""The shipped networks against their reference implementations: what a spec describes, and bytes that a run keeps."""

import pytest
import references
import torch
from fvcore.nn import FlopCountAnalysis
from real import NETWORKS, NETWORKS_AND_STRATEGIES, PAIRS, configured, saved_by_a_step, seldom

import costmodel
from costmodel.errors import CostmodelError
from costmodel.files.shipped import shipped_names

# torchvision's, timm's and the authors' own counts at 1000 classes.
PARAMETERS = {
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
    "mnasnet_b1": 4_383_312,
    "efficientnet_b0": 5_288_548,
    "efficientnet_lite0": 4_652_008,
    "mobilenet_v4_conv_small": 3_774_024,
    "proxyless_mobile": 4_080_512,
    "mcunet_5fps": 636_232,
    "mobilenet_v2_w035": 363_208,
    "proxyless_w03": 428_648,
}

# Bytes of running means, variances and batch counts of the reference modules.
BUFFERS = {
    "mobilenet_v2": 136_864,
    "mobilenet_v3_small": 48_720,
    "mobilenet_v3_large": 97_968,
    "mnasnet_b1": 152_096,
    "efficientnet_b0": 168_456,
    "efficientnet_lite0": 168_456,
    "mobilenet_v4_conv_small": 100_720,
    "proxyless_mobile": 138_472,
    "mcunet_5fps": 48_400,
    "mobilenet_v2_w035": 46_488,
    "proxyless_w03": 43_808,
}

# Forward conv + linear FLOPs of a batch of 8 at 224 (MCUNet's authors' networks: 128), measured.
FORWARD_FLOPS = {
    "mobilenet_v2": 4_812_388_352,
    "mobilenet_v3_small": 904_166_400,
    "mobilenet_v3_large": 3_465_436_160,
    "mnasnet_b1": 5_030_653_952,
    "efficientnet_b0": 6_173_036_032,
    "efficientnet_lite0": 6_163_000_832,
    "mobilenet_v4_conv_small": 2_976_089_088,
    "proxyless_mobile": 5_126_841_344,
    "mcunet_5fps": 361_816_064,
    "mobilenet_v2_w035": 268_142_592,
    "proxyless_w03": 299_454_464,
}

# The same of the backward pass under `full`.
BACKWARD_FLOPS = {
    "mobilenet_v2": 9_451_368_448,
    "mobilenet_v3_small": 1_721_628_672,
    "mobilenet_v3_large": 6_844_168_192,
    "efficientnet_b0": 12_172_663_808,
}

# Saved bytes and trained parameters of a batch of 8 at the network's own resolution, measured on the reference
# implementations with saved-tensor hooks (torch 2.13.0, CPU).
MEASURED = {
    "mobilenet_v2": {
        "full": (625_844_804, 3_504_872),
        "norm+last": (621_027_908, 1_315_112),
        "bias": (620_891_460, 1_298_056),
        "last": (73_028, 1_281_000),
        "blocks:1": (14_442_308, 2_167_080),
        "blocks:3": (33_542_468, 2_807_080),
        "blocks:5": (70_843_716, 3_080_616),
    },
    "mobilenet_v3_small": {
        "full": (129_439_108, 2_542_856),
        "norm+last": (124_622_212, 1_627_960),
        "bias": (124_573_764, 1_624_792),
        "last": (148_804, 1_615_848),
        "blocks:1": (8_803_396, 1_966_392),
        "blocks:3": (23_208_772, 2_352_336),
        "blocks:5": (35_986_116, 2_404_104),
    },
    "mobilenet_v3_large": {
        "full": (353_041_284, 5_483_032),
        "norm+last": (348_224_388, 2_535_480),
        "bias": (348_126_788, 2_528_360),
        "last": (185_668, 2_511_080),
        "blocks:1": (14_609_988, 3_463_960),
        "blocks:3": (43_659_588, 4_690_544),
        "blocks:5": (96_986_180, 5_291_088),
    },
    "mnasnet_b1": {
        "full": (354_307_524, 4_383_312),
        "norm+last": (349_490_628, 1_318_920),
        "bias": (349_338_948, 1_299_960),
        "last": (73_028, 1_281_000),
        "blocks:1": (12_689_220, 2_298_600),
        "blocks:3": (28_384_068, 3_250_920),
        "blocks:5": (46_177_092, 3_910_056),
    },
    "efficientnet_b0": {
        "full": (705_752_548, 5_288_548),
        "norm+last": (700_935_652, 1_323_016),
        "bias": (700_767_588, 1_311_348),
        "last": (73_028, 1_281_000),
        "blocks:1": (18_185_028, 2_410_392),
        "blocks:3": (44_871_556, 3_586_296),
        "blocks:5": (76_134_564, 4_436_740),
    },
    "efficientnet_lite0": {
        "full": (631_304_644, 4_652_008),
        "norm+last": (626_487_748, 1_323_016),
        "bias": (626_319_684, 1_302_008),
        "last": (73_028, 1_281_000),
        "blocks:1": (16_260_932, 2_298_600),
        "blocks:3": (39_181_124, 3_250_920),
        "blocks:5": (67_462_468, 3_951_240),
    },
    "mobilenet_v4_conv_small": {
        "full": (130_702_660, 3_774_024),
        "norm+last": (125_885_764, 1_306_088),
        "bias": (125_785_412, 1_293_544),
        "last": (73_028, 1_281_000),
        "blocks:1": (3_373_892, 2_637_160),
        "blocks:3": (10_617_668, 2_913_128),
        "blocks:5": (17_056_580, 3_169_000),
    },
    "proxyless_mobile": {
        "full": (498_759_748, 4_080_512),
        "norm+last": (493_942_852, 1_315_496),
        "bias": (493_804_868, 1_298_248),
        "last": (73_028, 1_281_000),
        "blocks:1": (16_260_932, 2_344_680),
        "blocks:3": (28_324_676, 2_848_872),
        "blocks:5": (54_246_212, 3_549_480),
    },
    "mcunet_5fps": {
        "full": (75_197_700, 636_232),
        "norm+last": (73_624_836, 173_016),
        "bias": (73_576_772, 167_008),
        "last": (37_188, 161_000),
        "blocks:1": (1_948_228, 316_264),
        "blocks:3": (4_517_956, 486_376),
        "blocks:5": (9_072_580, 554_872),
    },
    "mobilenet_v2_w035": {
        "full": (86_867_780, 363_208),
        "norm+last": (85_294_916, 124_520),
        "bias": (85_248_836, 118_760),
        "last": (35_652, 113_000),
        "blocks:1": (1_160_132, 174_040),
        "blocks:3": (3_350_852, 258_264),
        "blocks:5": (7_416_836, 292_616),
    },
    "proxyless_w03": {
        "full": (70_840_964, 428_648),
        "norm+last": (69_268_100, 107_832),
        "bias": (69_224_772, 102_416),
        "last": (35_140, 97_000),
        "blocks:1": (1_303_620, 178_984),
        "blocks:3": (2_621_508, 248_744),
        "blocks:5": (5_449_796, 347_112),
    },
}

# The networks of MCUNet's authors are searched, or narrowed by them: the references have no width.
OF_ONE_WIDTH = ("mcunet_5fps", "mobilenet_v2_w035", "proxyless_w03")
WIDTHS = [(name, width) for name in NETWORKS if name not in OF_ONE_WIDTH for width in (0.35, 0.5, 1.4)]


def shapes(graph):
    """State dict keys and shapes, as the graph describes them."""
    parameters = {f"{owner}.{name}": tuple(shape) for (owner, name), (shape, _) in graph.parameters.items()}
    buffers = {f"{owner}.{name}": tuple(extra.shape) for (owner, name), extra in graph.buffers.items()}
    assert not parameters.keys() & buffers.keys()
    return {**parameters, **buffers}


def reference_shapes(module):
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def test_every_shipped_network_is_tested():
    # No package has TinyTL's network to compare with; test_tinytl holds it against real runs and its authors' counts.
    assert tuple(sorted([*NETWORKS, "proxyless_mobile_tinytl"])) == shipped_names("networks")


@pytest.mark.parametrize("name", NETWORKS)
def test_state_dict_blocks_and_classifier_are_the_references(name):
    module, graph = configured(name, "full"), costmodel.load(name).graph
    assert shapes(graph) == reference_shapes(module)
    assert list(graph.blocks) == references.reference_blocks(module)
    assert graph.classifier == references.reference_classifier(module)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_buffers(name):
    estimate = costmodel.estimate(name)
    assert estimate.parameters == PARAMETERS[name]
    assert estimate.memory_bytes["parameters"] == 4 * PARAMETERS[name]
    assert estimate.memory_bytes["buffers"] == BUFFERS[name]


def test_mcunet_has_its_published_weights_and_multiply_adds():
    # 42 convolutions with 463,216 weights; 22.45 million multiply-adds at 128 without the classifier's 160 * 1000.
    estimate = costmodel.estimate("mcunet_5fps", batch=1)
    weights = [node.op.params()["weight"] for node in estimate.graph.nodes if node.op.kind == "conv2d"]
    assert len(weights) == 42
    assert sum(o * i * h * w for o, i, h, w in weights) == 463_216
    assert round((estimate.flops["forward"] // 2 - 160_000) / 1e6, 2) == 22.45


@pytest.mark.parametrize("name", NETWORKS)
def test_flops_of_a_batch_of_eight(name):
    flops = costmodel.estimate(name, "full", batch=8).flops
    assert flops["forward"] == FORWARD_FLOPS[name]
    assert flops["backward"] == BACKWARD_FLOPS.get(name, flops["backward"])
    assert flops["backward"] == flops["backward_input"] + flops["backward_weight"]
    assert flops["total"] == flops["forward"] + flops["backward"]


@pytest.mark.parametrize("name, strategy", [(name, strategy) for name in NETWORKS for strategy in MEASURED[name]])
def test_measured_bytes_and_trained_parameters_of_a_batch_of_eight(name, strategy):
    estimate = costmodel.estimate(name, strategy, batch=8)
    assert (estimate.saved_bytes, estimate.trainable_parameters) == MEASURED[name][strategy]


CASES = [(*named, *pair) for named in NETWORKS_AND_STRATEGIES for pair in PAIRS]


@pytest.mark.parametrize("name, strategy, batch, resolution", [*CASES[::4], *seldom(*CASES)])  # each pair in turn
def test_saved_bytes_equal_a_real_run_of_the_reference(name, strategy, batch, resolution):
    module = configured(name, strategy)
    try:
        real = saved_by_a_step(module, batch, resolution)
    except ValueError as error:  # torch's refusal: one value per channel has no batch statistics
        assert "Expected more than 1 value per channel when training" in str(error)
        with pytest.raises(CostmodelError, match="batch statistics of one value per channel"):
            costmodel.estimate(name, strategy, batch, resolution)
        return
    estimate = costmodel.estimate(name, strategy, batch, resolution)
    assert estimate.saved_bytes == real
    assert estimate.parameters == sum(p.numel() for p in module.parameters())
    assert estimate.trainable_parameters == sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_image_whose_last_map_is_one_pixel_is_refused_as_by_the_reference(name):
    # Strides of 32 in all: 32 pixels end as one. `last` has no batch statistics and takes it.
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        saved_by_a_step(configured(name, "full"), 1, 32)
    with pytest.raises(CostmodelError, match="batch statistics of one value per channel"):
        costmodel.estimate(name, "full", 1, 32)
    assert costmodel.estimate(name, "last", 1, 32).saved_bytes == saved_by_a_step(configured(name, "last"), 1, 32)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_multiply_adds_equal_fvcores(name):
    module = configured(name, "inference")
    counter = FlopCountAnalysis(module, torch.randn(2, 3, 97, 97))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    counts = counter.by_operator()
    assert costmodel.estimate(name, "inference", 2, 97).flops["forward"] == 2 * (counts["conv"] + counts["linear"])


@pytest.mark.parametrize("name, width", WIDTHS)
def test_width_multiplier(name, width):
    # Below 1 the rounding rule, and the layers that are fixed or never narrowed, all show.
    module = references.load_reference(name, width=width)
    assert shapes(costmodel.load(name, width=width).graph) == reference_shapes(module)


@pytest.mark.parametrize("name", NETWORKS)
def test_ten_classes(name):
    module = references.load_reference(name, classes=10)
    network = costmodel.load(name, classes=10)
    assert shapes(network.graph) == reference_shapes(module)
    assert costmodel.estimate(network, "full", 2, 65).saved_bytes == saved_by_a_step(module, 2, 65)
