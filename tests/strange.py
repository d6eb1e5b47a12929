"""Modules that do what a layer graph does not describe, or did not: small ones made after people's reports."""

import random

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def conv(a, b, k=3, **more):
    return nn.Conv2d(a, b, k, padding=k // 2, **more)


class Base(nn.Module):
    """Two convolutions, a norm, pooling and a classifier, with something in between (`middle`)."""

    def __init__(self, middle=None, width=8, classes=5):
        super().__init__()
        self.first, self.norm, self.second = conv(3, width), nn.BatchNorm2d(width), conv(width, width)
        self.extra = middle
        self.fc = nn.Linear(width, classes)

    def middle(self, x):
        return self.extra(x) if self.extra is not None else x

    def head(self, x):
        return self.fc(x.mean((2, 3)))

    def forward(self, x):
        return self.head(self.middle(self.second(torch.relu(self.norm(self.first(x))))))


def of(function, **more):
    """A class of modules whose middle is a function of the map."""
    return type(getattr(function, "__name__", "Of"), (Base,), {"middle": lambda self, x: function(x), **more})


# -- gradient modes --------------------------------------------------------------------------------------


class NoGrad(Base):
    def forward(self, x):
        with torch.no_grad():
            y = self.second(torch.relu(self.norm(self.first(x))))
        return self.head(y)


class SetGradEnabled(Base):
    def forward(self, x):
        torch.set_grad_enabled(False)
        y = self.first(x)
        torch.set_grad_enabled(True)
        return self.head(self.second(torch.relu(y)))


class Decorated(Base):
    @torch.no_grad()
    def features(self, x):
        return self.second(torch.relu(self.first(x)))

    def forward(self, x):
        return self.head(self.features(x))


class InferenceMode(Base):
    def forward(self, x):
        with torch.inference_mode():
            y = self.second(torch.relu(self.first(x)))
        return self.head(y.clone())


class Detached(Base):
    def forward(self, x):
        return self.head(self.second(torch.relu(self.first(x))).detach())


class Data(Base):
    def forward(self, x):
        return self.head(self.second(torch.relu(self.first(x)).data))


class FrozenInForward(Base):
    def forward(self, x):
        self.first.weight.requires_grad_(False)
        return super().forward(x)


class EnableGrad(Base):
    def forward(self, x):
        with torch.no_grad():
            y = torch.relu(self.first(x))
            with torch.enable_grad():
                y = self.second(y)
        return self.head(y)


class ImagesNeedGradients(Base):
    def forward(self, x):
        return super().forward(x.requires_grad_())


# -- what Python asks ------------------------------------------------------------------------------------


class AsksGradEnabled(Base):
    def forward(self, x):
        y = self.first(x)
        return self.head(self.second(torch.relu(y)) if torch.is_grad_enabled() else y)


class AsksGradFn(Base):
    def forward(self, x):
        y = self.first(x)
        return self.head(self.second(torch.relu(y)) if y.grad_fn is not None else y)


class AsksLeaf(Base):
    def forward(self, x):
        y = self.first(x)
        return self.head(y if y.is_leaf else self.second(torch.relu(y)))


class AsksDevice(Base):
    def forward(self, x):
        y = self.first(x)
        return self.head(self.second(torch.relu(y)) if y.device.type == "cpu" else y)


class AsksMeta(Base):
    def forward(self, x):
        y = self.first(x)
        return self.head(y if y.is_meta else self.second(torch.relu(y)))


class AsksRequiresGrad(Base):
    def forward(self, x):
        y = self.first(x)
        return self.head(self.second(torch.relu(y)) if y.requires_grad else y)


# -- recomputation and functions of one's own ------------------------------------------------------------


class Checkpointed(Base):
    def forward(self, x):
        y = torch.relu(self.norm(self.first(x)))
        return self.head(checkpoint(self.second, y, use_reentrant=False))


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return gradient * (s * (1 + x * (1 - s)))


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class OnContext(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.x = x * 2
        return x + 1

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.x


# -- data types ------------------------------------------------------------------------------------------


class Autocast(Base):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            y = super().forward(x)
        return y.float()


class MeanInDouble(Base):
    def head(self, x):
        return self.fc(x.mean((2, 3), dtype=torch.float64).float())


class OneLayerInHalf(Base):
    def middle(self, x):
        return F.relu(x.to(torch.bfloat16)).float()


# -- layers ----------------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x):
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        y, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return y.transpose(1, 2).reshape(n, c, h, w)


def attention_on_maps(x):
    return F.scaled_dot_product_attention(x, x * 2, x + 1)


def nearest(x):
    return F.interpolate(x, scale_factor=1.5)


def bilinear(x):
    return F.interpolate(x, scale_factor=1.7, mode="bilinear")


def bilinear_size(x):
    return F.interpolate(x, size=(11, 7), mode="bilinear")


def swapped_chunks(x):
    a, b = x.chunk(2, 1)
    return torch.cat([b, a], 1)


def keepdim_sum(x):
    return x * x.sum(1, keepdim=True)


def relu_on_a_slice(x):
    y = x * 1.5
    y[:, :4].relu_()
    return y


def view_written(x):
    y = x + 1
    z = y.view(-1)
    z.mul_(2)
    return y


def same_shape_view(x):
    return x.view(x.shape).transpose(2, 3).transpose(2, 3) * x


def addcmul(x):
    return torch.addcmul(x, x, x.sigmoid())


def addcmul_value(x):
    return torch.addcmul(x, x, x.sigmoid(), value=0.5)


class TwoHeads(Base):
    def head(self, x):
        return self.fc(x.mean((2, 3))) + self.fc(x.sum((2, 3)))


class Norm(Base):
    """A norm without statistics."""

    def __init__(self):
        super().__init__(nn.BatchNorm2d(8, track_running_stats=False))


# -- the batch and the images ----------------------------------------------------------------------------


class ForImages(Base):
    def forward(self, x):
        return torch.stack([super(ForImages, self).forward(one[None])[0] for one in x])


class HalfBatch(Base):
    def forward(self, x):
        y = self.first(x)
        half = x.shape[0] // 2
        return self.head(torch.cat([self.second(y[:half]), torch.relu(y[half:])]))


class LargeBatch(Base):
    def forward(self, x):
        y = self.first(x)
        if x.size(0) > 8:
            y = self.second(torch.relu(y))
        return self.head(y)


class Grey(Base):
    def forward(self, x):
        return super().forward(x[:, :1].expand(-1, 3, -1, -1))


class StridedOneByOne(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.fc = nn.Conv2d(3, 1, 1, stride=3), nn.Linear(1, 5)

    def forward(self, x):
        return self.fc(self.first(x).mean((2, 3)))


# -- memory formats and chance ---------------------------------------------------------------------------


class ChannelsLastInside(Base):
    def forward(self, x):
        return super().forward(x.contiguous(memory_format=torch.channels_last))


class Contiguous(Base):
    def middle(self, x):
        return x.to(memory_format=torch.channels_last).contiguous()


class Chance(Base):
    def middle(self, x):
        return torch.sigmoid(x) if torch.rand(1).item() < 0.5 else x


class PythonChance(Base):
    def middle(self, x):
        return torch.sigmoid(x) if random.random() < 0.5 else x


class Weighted(Base):
    """A weight computed from a parameter, and a shared convolution."""

    def middle(self, x):
        return F.conv2d(x, self.second.weight * 0.5, padding=1) + self.second(x)


#: Every case by name: a function that makes the module.
CASES = {
    **{
        cls.__name__: cls
        for cls in (NoGrad, SetGradEnabled, Decorated, InferenceMode, Detached, Data, FrozenInForward, EnableGrad,
                    ImagesNeedGradients, AsksGradEnabled, AsksGradFn, AsksLeaf, AsksDevice, AsksMeta, AsksRequiresGrad,
                    Checkpointed, Autocast, MeanInDouble, OneLayerInHalf, TwoHeads, Norm, ForImages, HalfBatch,
                    LargeBatch, Grey, StridedOneByOne, ChannelsLastInside, Contiguous, Chance, PythonChance, Weighted)
    },
    **{
        function.__name__: of(function)
        for function in (attention_on_maps, nearest, bilinear, bilinear_size, swapped_chunks, keepdim_sum,
                         relu_on_a_slice, view_written, same_shape_view, addcmul, addcmul_value)
    },
    "Swish": type("OwnSwish", (Base,), {"middle": lambda s, x: Swish.apply(x)}),
    "Reversal": type("Reversed", (Base,), {"middle": lambda s, x: Reversal.apply(x)}),
    "OnContext": type("Hidden", (Base,), {"middle": lambda s, x: OnContext.apply(x)}),
    "MultiheadAttention": lambda: Base(Attention()),
    "PReLU": lambda: Base(nn.PReLU()),
    "PReLU of channels": lambda: Base(nn.PReLU(8)),
    "Upsample": lambda: Base(nn.Upsample(scale_factor=1.5)),
    "Upsample2": lambda: Base(nn.Upsample(scale_factor=2, mode="bilinear")),
    "Dropout 1.0": lambda: Base(nn.Dropout(1.0)),
    "circular": lambda: Base(conv(8, 8, padding_mode="circular")),
    "reflect": lambda: Base(conv(8, 8, padding_mode="reflect")),
    "LeakyReLU": lambda: Base(nn.LeakyReLU()),
    "Hardtanh": lambda: Base(nn.Hardtanh()),
    "ConvTranspose2d": lambda: Base(nn.ConvTranspose2d(8, 8, 2, 2)),
    "bfloat16": lambda: Base().bfloat16(),
    "channels_last": lambda: Base().to(memory_format=torch.channels_last),
    "GroupNorm": lambda: Base(nn.GroupNorm(2, 8)),
    "LayerNorm": lambda: Base(nn.LayerNorm([8, 10, 10])),
    "InstanceNorm": lambda: Base(nn.InstanceNorm2d(8, affine=True)),
    "LocalResponseNorm": lambda: Base(nn.LocalResponseNorm(3)),
    "PixelShuffle": lambda: Base(nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2))),
    "frozen first": lambda: _frozen(Base(), "first"),
    "eval norm": lambda: _evaluated(Base()),
}  # fmt: skip


def _frozen(module, *names):
    for name in names:
        module.get_submodule(name).requires_grad_(False)
    return module


def _evaluated(module):
    module.train()
    module.norm.eval()
    return module
