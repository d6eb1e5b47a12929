"""Reference networks for the tests, and training strategies set up on them by flags and modes alone.

Nothing here uses the package under test: torchvision and timm build seven of the networks, the others are
written out below, and a strategy only sets `requires_grad` and `train()`/`eval()`. (conftest.py makes sure that
torchvision can be imported.)
"""

from collections import OrderedDict

import timm
from timm.models import efficientnet as timm_efficientnet
from timm.models import mobilenetv3 as timm_mobilenetv3
from torch import nn
from torchvision.models import efficientnet, mnasnet, mobilenetv2, mobilenetv3

NAMES = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "mnasnet_b1",
    "efficientnet_b0",
    "efficientnet_lite0",
    "mobilenet_v4_conv_small",
    "proxyless_mobile",
    "mcunet_5fps",
    "mobilenet_v2_w035",
    "proxyless_w03",
)
TORCHVISION_BLOCKS = (
    mobilenetv2.InvertedResidual,
    mobilenetv3.InvertedResidual,
    mnasnet._InvertedResidual,
    efficientnet.MBConv,
    efficientnet.FusedMBConv,
)
TIMM_NETWORKS = (timm_efficientnet.EfficientNet, timm_mobilenetv3.MobileNetV3)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)


def load_reference(name: str, classes: int = 1000, width: float | None = None) -> nn.Module:
    """The untrained reference network `name` (one of NAMES), in train mode; `width` is a width multiplier."""
    w = 1.0 if width is None else width
    if name == "mobilenet_v2":
        return mobilenetv2.mobilenet_v2(num_classes=classes, width_mult=w)
    if name in ("mobilenet_v3_small", "mobilenet_v3_large"):
        return getattr(mobilenetv3, name)(num_classes=classes, width_mult=w)
    if name == "mnasnet_b1":
        return mnasnet.MNASNet(w, num_classes=classes)
    if name == "efficientnet_b0":
        blocks, last = efficientnet._efficientnet_conf(name, width_mult=w, depth_mult=1.0)
        return efficientnet.EfficientNet(blocks, dropout=0.2, last_channel=last, num_classes=classes)
    if name == "efficientnet_lite0":
        if width is None:
            return timm.create_model(name, pretrained=False, num_classes=classes)
        return timm_efficientnet._gen_efficientnet_lite(name, channel_multiplier=w, num_classes=classes)
    if name == "mobilenet_v4_conv_small":
        if width is None:
            return timm.create_model("mobilenetv4_conv_small", pretrained=False, num_classes=classes)
        return timm_mobilenetv3._gen_mobilenet_v4("mobilenetv4_conv_small", w, num_classes=classes)
    if name == "proxyless_mobile":
        return ProxylessMobile(classes, w)
    if name in MCUNet.BLOCKS:
        if width is not None:
            raise ValueError(f"{name} is one searched network and has no width multiplier")
        return MCUNet(name, classes)
    raise ValueError(f"unknown reference {name!r}; known: {', '.join(NAMES)}")


# -- the two networks of the MIT HAN Lab -------------------------------------------------------------------


def _divisible(channels: float, by: int = 8) -> int:
    """`channels` rounded to the nearest multiple of `by`, halves up; one multiple more if it loses over a tenth."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded if rounded >= 0.9 * channels else rounded + by


def _conv_norm(cin: int, cout: int, k: int, stride: int, groups: int, eps: float, act: str = "") -> nn.Module:
    """Convolution and norm, then an in-place ReLU6 called `act` unless that is ""."""
    parts = OrderedDict(
        conv=nn.Conv2d(cin, cout, k, stride, k // 2, groups=groups, bias=False), bn=nn.BatchNorm2d(cout, eps=eps)
    )
    if act:
        parts[act] = nn.ReLU6(inplace=True)
    return nn.Sequential(parts)


class MBInvertedConv(nn.Module):
    """Expansion to `mid` channels (None: no expansion), depthwise convolution, projection."""

    def __init__(self, cin: int, mid: int | None, cout: int, k: int, stride: int, eps: float, act: str):
        super().__init__()
        self.inverted_bottleneck = None if mid is None else _conv_norm(cin, mid, 1, 1, 1, eps, act)
        mid = mid or cin
        self.depth_conv = _conv_norm(mid, mid, k, stride, mid, eps, act)
        self.point_linear = _conv_norm(mid, cout, 1, 1, 1, eps)

    def forward(self, x):
        if self.inverted_bottleneck is not None:
            x = self.inverted_bottleneck(x)
        x = self.depth_conv(x)
        x = self.point_linear(x)
        return x


class ZeroLayer(nn.Module):
    """The place of a block for which the search chose no operation; it is never called."""


class MobileInvertedResidualBlock(nn.Module):
    def __init__(self, conv: nn.Module, identity: bool):
        super().__init__()
        self.mobile_inverted_conv = conv
        self.shortcut = nn.Identity() if identity else None

    def forward(self, x):
        if isinstance(self.mobile_inverted_conv, ZeroLayer):
            return x
        if self.shortcut is None:
            return self.mobile_inverted_conv(x)
        return self.mobile_inverted_conv(x) + self.shortcut(x)


class ProxylessConv(nn.Module):
    """The plain convolution layer of that release, which registers norm and activation first."""

    def __init__(self, cin: int, cout: int, k: int, stride: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(cout, eps=1e-3)
        self.activation = nn.ReLU6(inplace=True)
        self.conv = nn.Conv2d(cin, cout, k, stride, k // 2, bias=False)

    def forward(self, x):
        x = self.conv(x)
        x = self.bn(x)
        x = self.activation(x)
        return x


class ProxylessMobile(nn.Module):
    """ProxylessNAS-Mobile (Cai, Zhu, Han, ICLR 2019), as in github.com/mit-han-lab/proxylessnas."""

    BLOCKS = (  # out, kernel, stride, expansion; None: the search chose no operation
        (16, 3, 1, 1),
        (32, 5, 2, 3),
        (32, 3, 1, 3),
        None,
        None,
        (40, 7, 2, 3),
        (40, 3, 1, 3),
        (40, 5, 1, 3),
        (40, 5, 1, 3),
        (80, 7, 2, 6),
        (80, 5, 1, 3),
        (80, 5, 1, 3),
        (80, 5, 1, 3),
        (96, 5, 1, 6),
        (96, 5, 1, 3),
        (96, 5, 1, 3),
        (96, 5, 1, 3),
        (192, 7, 2, 6),
        (192, 7, 1, 6),
        (192, 7, 1, 3),
        (192, 7, 1, 3),
        (320, 7, 1, 6),
    )

    def __init__(self, classes: int, width: float):
        super().__init__()
        cin, last = _divisible(32 * width), _divisible(1280 * max(1.0, width))
        self.first_conv = ProxylessConv(3, cin, 3, 2)
        self.blocks = nn.ModuleList()
        for spec in self.BLOCKS:
            if spec is None:
                self.blocks.append(MobileInvertedResidualBlock(ZeroLayer(), True))
                continue
            cout, k, stride, ratio = spec
            cout = _divisible(cout * width)
            mid = None if ratio == 1 else round(cin * ratio)
            same = stride == 1 and cin == cout and ratio != 1
            self.blocks.append(
                MobileInvertedResidualBlock(MBInvertedConv(cin, mid, cout, k, stride, 1e-3, "relu"), same)
            )
            cin = cout
        self.feature_mix_layer = ProxylessConv(cin, last, 1, 1)
        self.global_avg_pooling = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(OrderedDict(linear=nn.Linear(last, classes)))

    def forward(self, x):
        x = self.first_conv(x)
        for block in self.blocks:
            x = block(x)
        x = self.feature_mix_layer(x)
        x = self.global_avg_pooling(x)
        x = x.view(x.size(0), -1)
        x = self.classifier(x)
        return x


class MCUNet(nn.Module):
    """A network of the authors of MCUNet (Lin et al., NeurIPS 2020 and 2022), as in github.com/mit-han-lab/mcunet."""

    BLOCKS = {}  # expanded, kernel, stride, out
    BLOCKS["mcunet_5fps"] = (
        (None, 3, 1, 8),
        (32, 3, 2, 16),
        (48, 3, 1, 16),
        (48, 7, 2, 24),
        (120, 3, 1, 24),
        (120, 3, 2, 40),
        (160, 7, 1, 40),
        (160, 5, 1, 48),
        (144, 3, 1, 48),
        (192, 3, 1, 48),
        (240, 7, 2, 96),
        (384, 5, 1, 96),
        (384, 5, 1, 96),
        (576, 3, 1, 160),
    )
    BLOCKS["mobilenet_v2_w035"] = (
        (None, 3, 1, 8),
        *((48, 3, 2, 8), (48, 3, 1, 8)),
        *((48, 3, 2, 16), (96, 3, 1, 16), (96, 3, 1, 16)),
        *((96, 3, 2, 24), *3 * [(144, 3, 1, 24)]),
        *((144, 3, 1, 32), *2 * [(192, 3, 1, 32)]),
        *((192, 3, 2, 56), *2 * [(336, 3, 1, 56)]),
        (336, 3, 1, 112),
    )
    BLOCKS["proxyless_w03"] = (
        (None, 3, 1, 8),
        *((24, 5, 2, 16), (48, 3, 1, 16)),
        *((48, 7, 2, 16), (48, 3, 1, 16), *2 * [(48, 5, 1, 16)]),
        *((96, 7, 2, 24), *3 * [(72, 5, 1, 24)]),
        *((144, 5, 1, 32), *3 * [(96, 5, 1, 32)]),
        *((192, 7, 2, 64), (384, 7, 1, 64), *2 * [(192, 7, 1, 64)]),
        (384, 7, 1, 96),
    )

    def __init__(self, name: str, classes: int):
        super().__init__()
        cin = 16
        self.first_conv = _conv_norm(3, cin, 3, 2, 1, 1e-5, "act")
        self.blocks = nn.ModuleList()
        for mid, k, stride, cout in self.BLOCKS[name]:
            conv = MBInvertedConv(cin, mid, cout, k, stride, 1e-5, "act")
            self.blocks.append(MobileInvertedResidualBlock(conv, stride == 1 and cin == cout))
            cin = cout
        self.classifier = nn.Sequential(OrderedDict(linear=nn.Linear(cin, classes)))

    def forward(self, x):
        x = self.first_conv(x)
        for block in self.blocks:
            x = block(x)
        x = x.mean(3).mean(2)
        x = self.classifier(x)
        return x


# -- parts and strategies ----------------------------------------------------------------------------------


def reference_blocks(module: nn.Module) -> list[str]:
    """Module paths of the network's blocks, first to last; a block without an operation (ZeroLayer) does not count."""
    if isinstance(module, TIMM_NETWORKS):
        return [f"blocks.{i}.{j}" for i, stage in enumerate(module.blocks) for j in range(len(stage))]
    return [
        path
        for path, part in module.named_modules()
        if isinstance(part, TORCHVISION_BLOCKS)
        or isinstance(part, MobileInvertedResidualBlock)
        and not isinstance(part.mobile_inverted_conv, ZeroLayer)
    ]


def reference_classifier(module: nn.Module) -> str:
    """Module path of the module that the network calls its classifier, else of its last linear layer."""
    if isinstance(getattr(module, "classifier", None), nn.Module):
        return "classifier"
    return [path for path, part in module.named_modules() if isinstance(part, nn.Linear)][-1]


def configure(module: nn.Module, strategy: str) -> nn.Module:
    """Set up `module`, in place, for full, last, norm+last, bias, blocks:K or inference, and return it.

    Only flags and modes are set; `module.train()` afterwards would undo frozen statistics. Dropout and
    stochastic depth stay as in training, except for `inference`, where the whole module is in eval mode.
    """
    name, _, count = strategy.partition(":")
    known = ("full", "last", "norm+last", "bias", "blocks", "inference")
    if name not in known or (name == "blocks") != bool(count):
        raise ValueError(f"unknown strategy {strategy!r}")
    module.train(name != "inference").requires_grad_(name == "full")
    if name in ("full", "inference"):
        return module
    norms = [part for part in module.modules() if isinstance(part, NORMS)]
    trained, with_batch_statistics = [module.get_submodule(reference_classifier(module))], []
    if name == "norm+last":
        trained, with_batch_statistics = trained + norms, norms
    elif name == "blocks":
        trained = with_batch_statistics = _from_block(module, int(count))
    elif name == "bias":
        for path, parameter in module.named_parameters():
            parameter.requires_grad_(path.rpartition(".")[2] == "bias")
    for part in trained:
        part.requires_grad_(True)
    for norm in norms:
        norm.train(norm in with_batch_statistics)
    return module


def _from_block(module: nn.Module, count: int) -> list[nn.Module]:
    """The last `count` blocks and all modules after them, in order of definition (here: of execution)."""
    blocks = reference_blocks(module)
    if not 1 <= count <= len(blocks):
        raise ValueError(f"blocks:K needs 1 <= K <= {len(blocks)}, got {count}")
    paths = [path for path, _ in module.named_modules()]
    return [module.get_submodule(path) for path in paths[paths.index(blocks[-count]) :]]
