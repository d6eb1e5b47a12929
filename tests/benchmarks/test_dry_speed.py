"""How long a dry step of MobileNetV2 takes, beside a real one of 8 images at 224."""

import time

import torch
from torch.nn.functional import cross_entropy

import costmodel
from costmodel.frontends.modules.dry.step import dry_step
from costmodel.graph import inputs
from costmodel.graph.dry import Setting

SETTING = Setting(None, None, True)


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def test_a_dry_step_takes_no_longer_than_a_real_one(record_property):
    module = costmodel.load("torchvision:mobilenet_v2").module.train()
    images, targets = torch.randn(8, 3, 224, 224), torch.zeros(8, dtype=torch.int64)

    def real():
        module.zero_grad(set_to_none=True)
        cross_entropy(module(images), targets).backward()

    def dry():
        dry_step(module, inputs.images(224), 8, SETTING)

    first, _ = seconds(dry), real()
    pairs = [(seconds(dry), seconds(real)) for _ in range(3)]
    warm, step = (min(times) for times in zip(*pairs))
    for name, value in (("first", first), ("warm", warm), ("real step", step)):
        record_property(name, f"{value:.3f} s")
    assert warm <= step and first <= 3 * step
