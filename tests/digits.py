"""A task that a small network of inverted residual blocks learns in seconds: handwritten digits, five at a time."""

from functools import cache

import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from costmodel.pytorch import realize

datasets = pytest.importorskip("sklearn.datasets")

SPEC = """\
network: digits
channels: 1
resolution: 16
classes: 5
activation: {op: relu6, inplace: true}
stem:
  - {conv: 16, kernel: 3, at: [stem.conv, stem.norm, stem.activation]}
stages:
  - {expand: 2, out: 16}
  - {expand: 4, out: 24, stride: 2, repeat: 2}
  - {expand: 4, out: 32, stride: 2, repeat: 3}
tail:
  - {conv: 64, at: [head.conv, head.norm, head.activation]}
  - {op: mean, at: mean}
  - {op: linear, out_features: classes, at: classifier}
classifier: classifier
"""
EPOCHS = 6
#: Of strategies that diverge at 0.05: all weights train on frozen statistics.
RATES = {"backrazor": 0.01}
BRANCHES = (".lite_residual.", "repnet.", "da3.", "_lora_")  # of modules that strategies insert


@cache
def digits(first):
    """The five digits from `first` on, 16x16: images and labels (0 to 4) to train on, and others to test on."""
    bunch = datasets.load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(bunch.target) - first
    chosen = (labels >= 0) & (labels < 5)
    images, labels = interpolate(images[chosen], scale_factor=2, mode="bilinear"), labels[chosen]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[: len(order) * 3 // 4], order[len(order) * 3 // 4 :]
    return images[train], labels[train], images[test], labels[test]


def transfer(strategy, module):
    """Train a transferred module on the digits 5 to 9; returns the accuracy on the test images."""
    return fit(module, 5, RATES.get(strategy, 0.05))


def transferred(strategy, network, pretrained, seed):
    """A lean network with pre-trained weights below a new classifier (and new branches), which the seed draws.

    pretrained: the state dict of the stock network.
    """
    torch.manual_seed(seed)
    module = realize(network, strategy, "lean")
    body = {key: tensor for key, tensor in pretrained.items() if not key.startswith("classifier.")}
    missing, unexpected = module.load_state_dict(body, strict=False)
    assert not unexpected
    assert all(key.startswith("classifier.") or any(name in key for name in BRANCHES) for key in missing)
    return module


def fit(module, first, rate=0.05):
    """Train on five digits by SGD at a learning rate; returns the accuracy on the test images."""
    images, labels, test_images, test_labels = digits(first)
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=rate, momentum=0.9)
    steps = EPOCHS * (len(labels) // 32)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    module.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(labels)).split(32)[: len(labels) // 32]:
            optimizer.zero_grad()
            cross_entropy(module(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return (module.eval()(test_images).argmax(1) == test_labels).float().mean().item()
