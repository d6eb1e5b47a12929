"""Torch modules that tests trace, and training strategies set up on them by flags and modes alone."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

STRATEGIES = ("full", "last", "norm+last", "bias", "blocks:3")


NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


#: Network: (batch, resolution). The families of mobile networks, and others, to show that nothing is special to those.
SLOW = {
    **{f"torchvision:{name}": (3, 97) for name in (
        "mobilenet_v3_large", "mnasnet1_0", "mnasnet0_5", "efficientnet_b1", "efficientnet_v2_s", "resnet50",
        "convnext_tiny", "densenet121", "regnet_y_400mf")},
    **{f"timm:{name}": (3, 97) for name in (
        "mobilenetv1_100", "mobilenetv2_100", "mobilenetv2_140", "mobilenetv3_small_100", "mobilenetv3_large_100",
        "mobilenetv3_rw", "tf_mobilenetv3_small_minimal_100", "tf_mobilenetv3_large_075", "mobilenetv4_conv_medium",
        "mobilenetv4_conv_blur_medium", "mobilenetv4_hybrid_medium", "mnasnet_small", "mnasnet_100", "semnasnet_100",
        "fbnetc_100", "fbnetv3_b", "efficientnet_b0", "tf_efficientnet_b0", "efficientnet_lite0",
        "tf_efficientnet_lite0", "efficientnet_es", "efficientnetv2_rw_t", "tf_efficientnetv2_b0", "spnasnet_100",
        "hardcorenas_a",
        "hardcorenas_f", "lcnet_100", "tinynet_a", "mobilenet_edgetpu_100", "mobilenet_edgetpu_v2_xs", "mixnet_m",
        "tf_mixnet_s", "ghostnet_100", "ghostnetv2_100", "rexnet_100", "resnet18", "resnet50", "convnext_atto",
        "starnet_s1", "regnety_002", "fastvit_t8", "mobileone_s0", "efficientvit_b0", "mobilevit_xxs")},
    "torchvision:vit_b_16": (2, 224),
    "torchvision:swin_t": (2, 64),
    **{f"timm:{name}": (2, 64) for name in (
        "repvit_m1", "shvit_s1", "resnetv2_50x1_bit", "nf_resnet26", "ecaresnet26t")},
    "timm:levit_128s": (2, 224),
    "timm:resmlp_12_224": (2, 224),
    "timm:crossvit_9_240": (2, 240),
    "timm:vit_tiny_patch16_224": (3, 224),
    "timm:deit_tiny_patch16_224": (2, 224),
    **{f"timm:{name}": (2, 224) for name in (
        "vit_relpos_small_patch16_224", "coatnet_nano_rw_224", "tnt_s_patch16_224")},
}  # fmt: skip


def configure(module, strategy, graph):
    """The module, set up for a strategy by flags and modes alone; the graph names its blocks and classifier."""
    name, _, count = strategy.partition(":")
    module.train().requires_grad_(name == "full")
    norms = [part for part in module.modules() if isinstance(part, NORMS)]
    trained, batch_statistics = [module.get_submodule(graph.classifier)], norms if name == "full" else []
    if name == "norm+last":
        trained, batch_statistics = trained + norms, norms
    elif name == "blocks":
        paths = [path for path, _ in module.named_modules()]
        after = paths[paths.index(graph.blocks[-int(count)]) :]
        trained = batch_statistics = [module.get_submodule(path) for path in after]
    elif name == "bias":
        for path, parameter in module.named_parameters():
            parameter.requires_grad_(path.rpartition(".")[2] == "bias")
    for part in trained if name != "full" else []:
        part.requires_grad_(True)
    for norm in norms:
        norm.train(norm in batch_statistics)
    return module


def step_of(module, batch, resolution):
    images, targets = torch.randn(batch, 3, resolution, resolution), torch.zeros(batch, dtype=torch.int64)
    return lambda: cross_entropy(module(images), targets)


class Net(nn.Module):
    """A convolution, a body given as a function of (module, x), a mean, and a linear classifier."""

    def __init__(self, *parts, body=None):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.parts = nn.ModuleList(parts)
        self.body = body
        self.fc = nn.Linear(8, 5)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.register_buffer("blur", torch.full((8, 1, 3, 3), 1 / 9), persistent=False)
        self.register_buffer("order", torch.tensor([7, 0, 3, 3, 2, 1, 5, 6]))

    def forward(self, x):
        x = self.stem(x)
        x = self.body(self, x) if self.body else x
        return self.fc(x.mean((2, 3)))
