"""Functions of torch on a map, and a network that has its peak at one of them."""

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, SIDE, BATCH = 16, 9, 3
AT = torch.tensor([0, 2, 5])
ZEROS = torch.zeros(BATCH, 1, SIDE, SIDE, dtype=torch.int64)


class Wide(nn.Module):
    """A pointwise convolution, a function of its map, and a classifier of the means."""

    def __init__(self, function):
        super().__init__()
        self.first, self.fc, self.function = nn.Conv2d(3, WIDTH, 1), nn.Linear(WIDTH, 4), function

    def forward(self, x):
        return self.fc(self.function(self.first(x)).mean((2, 3)))


def masked(x):
    x = x * 1
    x[x < 0] = 0
    return x


def masked_through_a_view(x):
    x = x * 1
    x[:, 0][x[:, 0] < 0] = 0
    return x


def written(x):
    y = torch.zeros_like(x)
    y[:, :4] = x[:, :4]
    return y


def written_at(x):
    y = x * 1
    y[x.detach().mean((1, 2, 3)) > -1e9] = 0
    return y


def heads(x):
    return x.flatten(2).transpose(1, 2).unflatten(-1, (2, -1)).transpose(1, 2)


def attention(mask=None, p=0.0):
    def call(x):
        q = heads(x)
        y = F.scaled_dot_product_attention(q, q, q, attn_mask=mask, dropout_p=p)
        return y.transpose(1, 2).flatten(2).transpose(1, 2).reshape(x.shape)

    return call


def by_a_loss(loss, target=lambda x: torch.zeros_like(x), **more):
    return lambda x: x * loss(x, target(x), **more)


TOKENS = SIDE * SIDE
#: Functions for which autograd, or the CPU's kernels, do something else on tensors without data.
UNLIKE = {
    "masked": masked,
    "masked through a view": masked_through_a_view,
    "masked_fill": lambda x: x.masked_fill(x < 0, 0),
    "index": lambda x: x[:, AT].repeat(1, 6, 1, 1)[:, :WIDTH],
    "scatter": lambda x: x.scatter(1, ZEROS, 0.0),
    "gather": lambda x: x.gather(1, ZEROS.expand(x.shape)),
    "clamp by tensors": lambda x: torch.clamp(x, torch.tensor(0.0), torch.tensor(6.0)),
    "unfold": lambda x: F.unfold(x, 3, padding=1).unflatten(1, (WIDTH, -1)).mean(2).view(x.shape),
    "mse": by_a_loss(F.mse_loss),
    "bce": lambda x: x * F.binary_cross_entropy(x.sigmoid(), torch.zeros_like(x)),
    "bce with logits": by_a_loss(F.binary_cross_entropy_with_logits, pos_weight=torch.ones(SIDE)),
    "silu": F.silu,
    "mish": F.mish,
    "copied into zeros": lambda x: torch.zeros(x.shape).copy_(x),
    "added into zeros": lambda x: torch.zeros(x.shape).scatter_add_(1, ZEROS.expand(x.shape), x),
    "cummax": lambda x: x.cummax(1)[0],
    "scatter_reduce by the largest": lambda x: x.scatter_reduce(1, ZEROS.expand(x.shape), x, "amax"),
    "scatter_reduce by products": lambda x: x.scatter_reduce(1, ZEROS, x[:, :1] * 2, "prod"),
    "index_reduce": lambda x: x.index_reduce(1, AT, x[:, :3] * 2, "amax"),
    "the largest of all": lambda x: x.detach() + x.max(),
    "the median of all": lambda x: x.detach() + x.median(),
    "exponential of a matrix": lambda x: x.detach() + torch.matrix_exp(x[0, :9, :, 0].expand(60, 9, 9)).sum(),
}
ALIKE = {
    "written": written,
    "written at": written_at,
    "index_fill": lambda x: x.index_fill(1, AT, 0.0),
    "index_add": lambda x: x.index_add(1, AT, x[:, :3]),
    "index_copy": lambda x: x.index_copy(1, AT, x[:, 3:6]),
    "index_select": lambda x: x.index_select(1, AT).repeat(1, 6, 1, 1)[:, :WIDTH],
    "scatter_add": lambda x: x.scatter_add(1, ZEROS, x[:, :1]),
    "select_scatter": lambda x: x.select_scatter(x[:, 1], 1, 0),
    "slice_scatter": lambda x: x.slice_scatter(x[:, 1:3], 1, 0, 2),
    "masked_scatter": lambda x: x.masked_scatter(x > 0, x * 2),
    "norm": lambda x: x / x.norm(dim=1, keepdim=True),
    "std": lambda x: x / (x.std(dim=1, keepdim=True) + 1),
    "var_mean": lambda x: sum(torch.var_mean(x, (2, 3), keepdim=True)) * x,
    "max": lambda x: x * x.max(1, keepdim=True)[0],
    "amax": lambda x: x * x.amax(1, keepdim=True),
    "median": lambda x: x * x.median(),
    "topk": lambda x: x * x.topk(3, 1)[0].mean(1, keepdim=True),
    "sort": lambda x: x.sort(1)[0],
    "cumsum": lambda x: x.cumsum(1),
    "flip": lambda x: x.flip(3) * x.abs(),
    "maximum": lambda x: torch.maximum(x, x.flip(1)) + torch.minimum(x, torch.tensor(1.0)),
    "lerp": lambda x: torch.lerp(x, x.flip(1), 0.3),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1),
    "hypot": lambda x: torch.hypot(x, x * 2) + torch.atan2(x, x * 2),
    "logaddexp": lambda x: torch.logaddexp(x, x * 2),
    "einsum": lambda x: torch.einsum("bchw,bdhw->bcd", x, x).mean(2)[:, :, None, None] * x,
    "fold": lambda x: F.fold(F.unfold(x, 3, padding=1), (SIDE, SIDE), 3, padding=1),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "local response": lambda x: F.local_response_norm(x, 2),
    "pixel shuffle": lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, 4),
    "grid_sample": lambda x: F.grid_sample(x, torch.zeros(BATCH, 9, 9, 2), align_corners=False),
    "logsumexp": lambda x: x - x.logsumexp(1, keepdim=True),
    "activations": lambda x: F.selu(x) + F.celu(x) + F.logsigmoid(x) + F.softplus(x, 2) + F.elu(x) + F.softsign(x),
    "shrinks": lambda x: F.tanhshrink(x) + F.hardshrink(x) + F.softshrink(x) + F.threshold(x, 0.1, 0.0),
    "rrelu": lambda x: F.rrelu(x, training=True),
    "dropouts": lambda x: F.alpha_dropout(x, 0.2, True) + F.dropout2d(x, 0.3, True),
    "glu": lambda x: F.glu(torch.cat([x, x], 1), 1),
    "cdist": lambda x: torch.cdist(x.flatten(2), x.flatten(2)).mean((1, 2))[:, None, None, None] * x,
    "cosine": lambda x: F.cosine_similarity(x, x.flip(1), dim=1)[:, None] * x,
    "gumbel": lambda x: F.gumbel_softmax(x, dim=1),
    "l1": by_a_loss(F.l1_loss),
    "smooth l1": by_a_loss(F.smooth_l1_loss),
    "huber": by_a_loss(F.huber_loss),
    "bce with weights": by_a_loss(F.binary_cross_entropy_with_logits, weight=torch.ones(SIDE)),
    "cross-entropy of maps": by_a_loss(F.cross_entropy, lambda x: ZEROS[:, 0], label_smoothing=0.1),
    "attention with a mask": attention(torch.ones(TOKENS, TOKENS) > 0),
    "attention with added numbers": attention(torch.ones(TOKENS, TOKENS)),
    "attention with dropout": attention(p=0.1),
    "logcumsumexp": lambda x: torch.logcumsumexp(x, 1),
    "renorm": lambda x: x.renorm(2, 1, 1.0),
    "instance norm": lambda x: F.instance_norm(x),
    "max_unpool": lambda x: F.max_unpool2d(*F.max_pool2d(x[:, :, :8, :8], 2, return_indices=True), 2),
    "trilinear": lambda x: F.interpolate(x[:, None], scale_factor=0.5, mode="trilinear")[:, 0].repeat(1, 2, 1, 1),
    "antialias": lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
    "baddbmm": lambda x: torch.baddbmm(x[:, :, 0, :1], x.flatten(2), x.flatten(2).mT).mean(2)[:, :, None, None] * x,
    "vmap": lambda x: torch.func.vmap(lambda one: one * 2)(x),
    "create_graph": lambda x: x * torch.autograd.grad((x**2).sum(), x, create_graph=True)[0],
    "double": lambda x: x.double().sin().float(),
    "complex": lambda x: torch.complex(x, x).abs(),
    "one-hot": lambda x: x * F.one_hot(ZEROS[:, 0, 0, 0], WIDTH)[:, :, None, None],
    "scatter_reduce": lambda x: x.scatter_reduce(1, ZEROS, x[:, :1] * 2, "sum"),
    "take": lambda x: x.take(torch.zeros(WIDTH, dtype=torch.int64))[None, :, None, None] * x,
    "unfold of a tensor": lambda x: x.unfold(2, 3, 1).mean(-1),
    "as_strided": lambda x: x.as_strided((x.shape[0], WIDTH, 4, SIDE), x.stride()),
    "inverse": lambda x: torch.linalg.inv(x[0, 0] + torch.eye(SIDE) * 9).mean() * x,
    "singular values": lambda x: torch.linalg.svdvals(x[0, 0]).sum() * x,
}
