"""Steps that others measured on small devices, as runs of `costmodel.studies.pacing`.

measured_times.json has their seconds and where they were published.
"""

import json
import re
from functools import cache
from pathlib import Path

import torch
from torch import nn

from costmodel import estimate
from costmodel.frontends.modules.imports import imported
from costmodel.studies.pacing import Run

DATA = json.loads((Path(__file__).parent / "measured_times.json").read_text(encoding="utf-8"))
PI, TX2 = DATA["raspberry_pi"]["models"], DATA["jetson_tx2"]["points"]
FAMILIES = re.compile("resnet|mobilenetv2|mobilenetv3|efficientnet|mnasnet|ghostnetv2")
NAMES = (
    "resnet18", "resnet34", "resnet50", "mobilenetv2_050", "mobilenetv2_100", "mobilenetv3_small_075",
    "mobilenetv3_small_100", "mobilenetv3_large_075", "mobilenetv3_large_100", "efficientnet_b0", "efficientnet_b1",
    "efficientnet_b2", "efficientnet_b3", "mnasnet_050", "mnasnet_075", "mnasnet_100", "ghostnetv2_100",
    "ghostnetv2_130", "ghostnetv2_160",
)  # fmt: skip
MODES = ("train", "finetune")


@cache
def pi_passes(name, mode):
    """The passes of one of the Pis' steps: batch 16 at 224; finetune trains the classifier, norms in training mode."""
    model = imported("timm").create_model(name)
    if mode == "finetune":
        model.requires_grad_(False)
        model.get_classifier().requires_grad_(True)
        if "v3" in name or "ghost" in name:
            model.conv_head.requires_grad_(True)
    return estimate(model, "as_is", 16, 224, target="none", check=False).passes


def pi_runs(board):
    """The steps that were measured on a board, rpi4 or rpi5."""
    return [
        Run(pi_passes(name, mode), PI[name][f"{board}_{mode}"], FAMILIES.match(name).group())
        for name in NAMES
        for mode in MODES
        if f"{board}_{mode}" in PI[name]
    ]


class Fire(nn.Module):
    """SqueezeNet's block with one ReLU after the concatenation, as in perf4sight's code."""

    def __init__(self, channels, squeezed, out):
        super().__init__()
        self.squeeze, self.relu = nn.Conv2d(channels, squeezed, 1), nn.ReLU(inplace=True)
        self.narrow, self.wide = nn.Conv2d(squeezed, out, 1), nn.Conv2d(squeezed, out, 3, padding=1)

    def forward(self, x):
        x = self.relu(self.squeeze(x))
        return torch.relu_(torch.cat([self.narrow(x), self.wide(x)], 1))


def squeezenet():
    """SqueezeNet 1.0 of such blocks."""

    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    fires = [Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), pool(), Fire(256, 32, 128), Fire(256, 48, 192),
             Fire(384, 48, 192), Fire(384, 64, 256), pool(), Fire(512, 64, 256)]  # fmt: skip
    head = [nn.Dropout(0.5), nn.Conv2d(512, 1000, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Conv2d(3, 96, 7, 2), nn.ReLU(inplace=True), pool(), *fires, *head)


def tx2_runs():
    """The steps that were measured on a Jetson TX2's GPU: full, momentum SGD."""
    models = imported("torchvision").models
    makers = {
        "resnet18": models.resnet18,
        "resnet50": models.resnet50,
        "mobilenetv2": models.mobilenet_v2,
        "squeezenet": squeezenet,
    }
    asked = {"optimizer": "momentum", "target": "cuda,sm=62", "check": False}
    return [
        Run(
            estimate(makers[one["network"]](), "full", one["batch"], one["resolution"], **asked).passes,
            one["step_ms"] / 1e3,
            one["network"],
        )
        for one in TX2
    ]
