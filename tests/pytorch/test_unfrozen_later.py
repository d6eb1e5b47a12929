"""What a user unfreezes in a realised module trains, and images that ask for a gradient get one."""

import pytest
import torch
from torch import nn

import costmodel
from costmodel.pytorch import measure, realize

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


class Noisy(nn.Module):
    """Dropout in a block that may be frozen, and in the head."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)]
        self.blocks = nn.Sequential(nn.Sequential(*layers, nn.Dropout(0.3, inplace=True)), nn.Conv2d(8, 8, 1))
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.drop(self.blocks(x).mean((2, 3))))


def test_noise_in_a_sliced_prefix_is_other_noise_and_no_fault():
    network = costmodel.load(Noisy(), resolution=17, blocks_are="blocks.*")
    sliced, whole = (realize(network, f"last{more}", "lean").eval() for more in (",prefix_slices=3", ""))
    images = torch.randn(5, 3, 17, 17)
    assert torch.equal(sliced(images), whole(images))
    said = costmodel.estimate(network, "last,prefix_slices=3", 5, convention="lean", target="none,threads=1")
    assert measure(sliced, 5, 17, target="cpu,threads=1").tensor_peak_bytes == said.step_peak_bytes
