"""Modules that mix data types under autocast, for tests of the graph and of dry steps."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint


class Mixed(nn.Module):
    """A convolution, a body that differs from case to case, a mean and a classifier.

    frozen: only the bias of the first convolution and the scale train, beside the classifier.
    """

    def __init__(self, body, frozen):
        super().__init__()
        self.body = body
        self.first, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.line, self.up = nn.Conv1d(8, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 2, 2)
        self.norm, self.layers, self.groups = nn.BatchNorm2d(8), nn.LayerNorm(8), nn.GroupNorm(2, 8)
        self.plain, self.rms, self.linear = nn.GroupNorm(2, 8, affine=False), nn.RMSNorm(8), nn.Linear(8, 8)
        self.slope, self.fc = nn.PReLU(8), nn.Linear(8, 5)
        self.scale, self.number = nn.Parameter(torch.ones(8, 1, 1)), nn.Parameter(torch.ones(()))
        if frozen:
            for module in (self.first, self.conv, self.line, self.up, self.norm, self.linear):
                module.requires_grad_(False)
            self.first.bias.requires_grad_(True)

    def forward(self, x):
        return self.fc(self.body(self, self.first(x)).mean((2, 3)))


def last(function):
    """A function of maps whose channels come last."""
    return lambda m, x: function(m, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def again(function):
    """A function that runs again in the backward pass."""
    return lambda m, x: checkpoint(lambda y: function(m, y), x, use_reentrant=False)


def without_autograd(m, x):
    with torch.no_grad():
        y = m.conv(x)
    return m.conv(x) + y


CASES = {
    "convolution and norm": lambda m, x: m.norm(m.conv(x)),
    "shared convolution": lambda m, x: m.conv(F.relu(m.conv(x))),
    "shared linear": last(lambda m, x: m.linear(m.linear(x))),
    "first under no_grad": without_autograd,
    "scaled branch": lambda m, x: x + m.scale * m.conv(x),
    "scale second": lambda m, x: m.conv(x) * m.scale + x,
    "difference": lambda m, x: x - m.conv(x) * m.scale,
    "difference from a scale": lambda m, x: m.scale - m.conv(x),
    "quotient": lambda m, x: m.conv(x) / (m.scale + 1),
    "quotient of a scale": lambda m, x: m.scale / (m.conv(x) + 9),
    "sum with a float32 map": lambda m, x: m.conv(x) + m.scale * x,
    "float32 map convolved": lambda m, x: m.conv(F.relu(m.conv(x) + m.scale * x)),
    "prelu": lambda m, x: m.slope(m.conv(x)),
    "transposed": lambda m, x: m.up(m.conv(x)),
    "conv1d": lambda m, x: m.line(x.flatten(2)).unsqueeze(-1),
    "cat of both": lambda m, x: torch.cat([m.conv(x), m.scale * x], 2),
    "reflection": lambda m, x: F.pad(m.conv(x), (1, 1, 1, 1), mode="reflect"),
    "layer norm": last(lambda m, x: m.layers(x)),
    "group norm": lambda m, x: m.groups(m.conv(x)),
    "norm without parameters": lambda m, x: m.plain(m.conv(x)),
    "in place": lambda m, x: m.conv(x).add_(x),
    "products": lambda m, x: (x.flatten(2) @ x.flatten(2).transpose(1, 2)).unsqueeze(-1),
    "attention": lambda m, x: F.scaled_dot_product_attention(x, x, x),
    "computed weight": lambda m, x: F.conv2d(x, m.conv.weight * 2, m.conv.bias, padding=1),
    "checkpoint": again(lambda m, x: F.relu(m.conv(x))),
    "checkpointed scale": lambda m, x: x + again(lambda m, y: m.scale * m.norm(F.relu(m.conv(y))))(m, x),
    "checkpointed sum": again(lambda m, x: F.relu(m.conv(x) + m.scale * x)),
    "dropout": lambda m, x: F.dropout(m.conv(x), 0.2),
    "pools and sizes": lambda m, x: F.interpolate(F.avg_pool2d(m.conv(x), 2), scale_factor=2.0, mode="bilinear"),
}

#: Data types that the layer graph does not follow, and casts that it does not place.
UNDESCRIBED = {
    "a number that trains": lambda m, x: m.conv(x) * m.number,
    "rms norm": last(lambda m, x: m.rms(x)),
    "in place on fewer bits": lambda m, x: m.conv(x).add_(m.scale * x),
    "maximum of both": lambda m, x: torch.maximum(m.conv(x), m.scale),
}


def mixed(case, frozen):
    """The module of a case."""
    return Mixed({**CASES, **UNDESCRIBED}[case], frozen).train()
