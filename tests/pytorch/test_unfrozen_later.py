"""What a user unfreezes in a realised module trains, and images that ask for a gradient get one."""

import pytest
import torch

from costmodel.pytorch import realize

SLICED = "blocks:2,prefix_slices=2"


def pair(convention, strategy):
    """The network of a strategy, and the same with its prefix on the whole batch; in float64, without dropout."""
    found = [realize("mcunet_5fps", text, convention).double() for text in (strategy, strategy.split(",")[0])]
    found[1].load_state_dict(found[0].state_dict())
    for module in (layer for network in found for layer in network.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    return found


def step(network, images):
    network(images).square().sum().backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("convention", ["torch", "lean"])
def test_shifts_of_a_sliced_prefix(convention):
    networks = pair(convention, SLICED)
    names = [name for name, p in networks[0].named_parameters() if name.endswith("bias") and not p.requires_grad]
    chosen = [names[0], names[len(names) // 2]]
    for network in networks:
        for name, p in network.named_parameters():
            p.requires_grad_(p.requires_grad or name in chosen)
    images = torch.randn(3, 3, 65, 65, dtype=torch.float64)
    sliced, whole = (step(network, images) for network in networks)
    assert sliced.keys() == whole.keys() >= {*chosen}
    assert all(torch.equal(sliced[name], whole[name]) for name in whole)


@pytest.mark.parametrize("convention", ["torch", "lean"])
def test_images_of_a_sliced_prefix(convention):
    networks = pair(convention, SLICED)
    images = torch.randn(3, 3, 65, 65, dtype=torch.float64).requires_grad_()
    gradients = [torch.autograd.grad(network(images).square().sum(), images)[0] for network in networks]
    assert gradients[0].abs().sum() > 0 and torch.equal(*gradients)
