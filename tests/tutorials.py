"""Small networks as tutorials write them: attention to channels and places, U-Nets, generators, recurrent maps."""

import torch
from torch import nn
from torch.nn import functional as F


def double(a, b):
    return nn.Sequential(
        nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True),
        nn.Conv2d(b, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True),
    )  # fmt: skip


class Classifier(nn.Module):
    """A body that makes maps, whose mean a linear layer classifies."""

    def __init__(self, body, channels, classes=5):
        super().__init__()
        self.body, self.fc = body, nn.Linear(channels, classes)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


# -- attention to channels and places --------------------------------------------------------------------


class ChannelAttention(nn.Module):
    def __init__(self, planes, ratio=4):
        super().__init__()
        self.avg_pool, self.max_pool = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)
        self.mlp = nn.Sequential(
            nn.Conv2d(planes, planes // ratio, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(planes // ratio, planes, 1, bias=False),
        )

    def forward(self, x):
        return torch.sigmoid(self.mlp(self.avg_pool(x)) + self.mlp(self.max_pool(x)))


class SpatialAttention(nn.Module):
    def __init__(self, kernel=7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x):
        average = torch.mean(x, dim=1, keepdim=True)
        largest, _ = torch.max(x, dim=1, keepdim=True)
        return torch.sigmoid(self.conv(torch.cat([average, largest], dim=1)))


class CbamBlock(nn.Module):
    def __init__(self, a, b, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b)
        self.ca, self.sa, self.relu = ChannelAttention(b), SpatialAttention(), nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b))

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out = self.ca(out) * out
        out = self.sa(out) * out
        out += self.shortcut(x)
        return self.relu(out)


class SqueezeBoth(nn.Module):
    """Squeeze-and-excite of means and maxima, with views as tutorials write it."""

    def __init__(self, channels, reduction=4):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        average = self.fc(F.adaptive_avg_pool2d(x, 1).view(b, c))
        largest = self.fc(F.adaptive_max_pool2d(x, 1).view(b, c))
        return x * (average + largest).sigmoid().view(b, c, 1, 1).expand_as(x)


# -- dropped blocks --------------------------------------------------------------------------------------


class DropBlock(nn.Module):
    """Drops squares of a map (Ghiasi et al. 2018), written by hand."""

    def __init__(self, p=0.1, size=3):
        super().__init__()
        self.p, self.size = p, size

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        gamma = self.p / self.size**2
        mask = (torch.rand_like(x) < gamma).float()
        kept = 1 - F.max_pool2d(mask, self.size, stride=1, padding=self.size // 2)
        return x * kept * (kept.numel() / kept.sum())


class DropBlockResidual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.convs, self.drop = double(channels, channels), DropBlock()

    def forward(self, x):
        return F.relu(x + self.drop(self.convs(x)))


# -- U-Nets ----------------------------------------------------------------------------------------------


class Up(nn.Module):
    """A transposed convolution, and the skipped map beside it: padded to its size, or cropped ("crop")."""

    def __init__(self, a, b, how):
        super().__init__()
        self.up, self.conv, self.how = nn.ConvTranspose2d(a, a // 2, 2, stride=2), double(a, b), how

    def forward(self, x, skipped):
        x = self.up(x)
        dy, dx = skipped.size(2) - x.size(2), skipped.size(3) - x.size(3)
        if self.how == "crop":
            skipped = skipped[:, :, dy // 2 : dy // 2 + x.size(2), dx // 2 : dx // 2 + x.size(3)]
        else:
            x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.conv(torch.cat([skipped, x], dim=1))


class UNet(nn.Module):
    def __init__(self, how="pad", width=8):
        super().__init__()
        self.inc, self.down1, self.down2 = double(3, width), double(width, 2 * width), double(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.up1, self.up2 = Up(4 * width, 2 * width, how), Up(2 * width, width, how)
        self.outc = nn.Conv2d(width, 4, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(self.pool(x1))
        x3 = self.down2(self.pool(x2))
        return self.outc(self.up2(self.up1(x3, x2), x1))


class Gate(nn.Module):
    """The attention gate of Attention U-Net (Oktay et al. 2018)."""

    def __init__(self, g, x, inner):
        super().__init__()
        self.wg = nn.Sequential(nn.Conv2d(g, inner, 1), nn.BatchNorm2d(inner))
        self.wx = nn.Sequential(nn.Conv2d(x, inner, 1), nn.BatchNorm2d(inner))
        self.psi = nn.Sequential(nn.Conv2d(inner, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, g, x):
        return x * self.psi(F.relu(self.wg(g) + self.wx(x)))


class AttentionUNet(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.inc, self.down = double(3, width), double(width, 2 * width)
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, width, 3, padding=1), nn.BatchNorm2d(width)
        )
        self.gate, self.conv, self.outc = (
            Gate(width, width, width // 2),
            double(2 * width, width),
            nn.Conv2d(width, 4, 1),
        )

    def forward(self, x):
        x1 = self.inc(x)
        up = self.up(self.down(F.max_pool2d(x1, 2)))
        return self.outc(self.conv(torch.cat((self.gate(up, x1), up), dim=1)))


# -- generators and recurrent maps -----------------------------------------------------------------------


class Generator(nn.Module):
    """DCGAN's generator, of a code that a convolution makes of the images."""

    def __init__(self, code=16, width=8):
        super().__init__()
        self.encode = nn.Conv2d(3, code, 3, stride=2)
        self.main = nn.Sequential(
            nn.ConvTranspose2d(code, width * 2, 4, 1, 0, bias=False), nn.BatchNorm2d(width * 2),
            nn.LeakyReLU(0.2, True),
            nn.ConvTranspose2d(width * 2, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True),
            nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x):
        code = self.encode(x).mean((2, 3))
        noise = torch.randn_like(code)
        return self.main((code + 0.1 * noise).view(code.size(0), -1, 1, 1))


class ConvLstmCell(nn.Module):
    def __init__(self, inputs, hidden, kernel=3):
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(inputs + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def forward(self, x, state):
        h, c = state
        i, f, o, g = torch.split(self.conv(torch.cat([x, h], dim=1)), self.hidden, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class ConvLstm(nn.Module):
    """Reads the same image three times."""

    def __init__(self, hidden=8):
        super().__init__()
        self.hidden, self.cell = hidden, ConvLstmCell(3, hidden)

    def forward(self, x):
        h = torch.zeros(x.size(0), self.hidden, x.size(2), x.size(3), device=x.device)
        c = torch.zeros_like(h)
        for _ in range(3):
            h, c = self.cell(x, (h, c))
        return h


NETWORKS = {
    "cbam": lambda: Classifier(nn.Sequential(CbamBlock(3, 16), CbamBlock(16, 16, 2)), 16),
    "squeeze of means and maxima": lambda: Classifier(nn.Sequential(double(3, 8), SqueezeBoth(8)), 8),
    "dropped blocks": lambda: Classifier(nn.Sequential(double(3, 8), DropBlockResidual(8), DropBlockResidual(8)), 8),
    "u-net that pads": lambda: Classifier(UNet(), 4),
    "u-net that crops": lambda: Classifier(UNet("crop"), 4),
    "attention u-net": lambda: Classifier(AttentionUNet(), 4),
    "generator": lambda: Classifier(Generator(), 3),
    "convolutional lstm": lambda: Classifier(ConvLstm(), 8),
}
