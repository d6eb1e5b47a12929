"""Modules that hold tensors from step to step, and numbers that autograd hides: estimates, held against real steps."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

import costmodel
from costmodel import CostmodelError
from costmodel.pytorch import measure
from costmodel.pytorch.copies import copy_of
from costmodel.pytorch.measure import refuse_other_steps, refuse_what_is_kept_beside

SIZE = {"batch": 2, "inputs": (3, 16, 16)}
MAP = 2 * 8 * 16 * 16 * 4
INPUTS = 2 * 3 * 16 * 16 * 4 + 2 * 8  # the images, and the classes that they are held against
HEAD = 2 * 8 * 4 + 2 * 5 * 4 + 4  # what the linear layer and the loss keep: means, logarithms, a sum of weights
OUTSIDE = {}


class Own(nn.Module):
    """Two convolutions and a head. middle: a function of the module and the map after the first convolution."""

    def __init__(self, middle):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head, self.middle = nn.Linear(8, 5), middle

    def forward(self, x):
        return self.head(self.middle(self, self.first(x)).mean((2, 3)))


def grad_cam(self, x):
    self.map = y = self.second(x)
    if y.requires_grad:
        y.register_hook(lambda gradient: setattr(self, "gradient", gradient))
    return y


def in_a_list(self, x):
    self.maps = []
    for _ in range(2):
        x = F.relu(self.second(x))
        self.maps.append(x)
    return x


def deep_inside(self, x):
    self.beside = {"maps": [self.second(x).sigmoid()]}
    return x


def outside(self, x):
    OUTSIDE["map"] = y = self.second(x)
    return y


def made_once(self, x):
    if not hasattr(self, "positions"):
        self.positions = torch.arange(16.0).expand(16, 16).contiguous()
    return x * self.positions


def scaled_view(self, x):
    x[:, :4].mul_(2)
    return x


def scaled_views(self, x):
    view = x[:, :4]
    view /= 2
    x[:, 1:].mul_(3.0)
    x[:, :2].mul_(torch.tensor(2.0))
    return x


def scaled_by_a_map(self, x):
    x[:, :4].mul_(x[:, 4:].detach().abs())
    return x


#: What autograd keeps besides INPUTS and HEAD.
KEPT = {
    grad_cam: MAP,  # the second convolution's input
    in_a_list: 3 * MAP,
    deep_inside: 2 * MAP,
    outside: MAP,
    made_once: 16 * 16 * 4,
    scaled_view: 8,
    scaled_views: 2 * 8 + 4,
    scaled_by_a_map: MAP // 2,
}


@pytest.mark.parametrize("middle", KEPT, ids=lambda middle: middle.__name__)
def test_saved_bytes_and_both_levels_are_those_of_a_real_step(middle):
    found, real = costmodel.estimate(Own(middle), "as_is", target="none", **SIZE), measure(Own(middle), **SIZE)
    assert found.saved_bytes == real.saved_bytes == INPUTS + HEAD + KEPT[middle]
    assert (found.step_peak_bytes, found.left_bytes) == (real.tensor_peak_bytes, real.left_bytes)


def test_a_map_that_somebody_outside_holds_is_freed_in_the_next_step():
    found = costmodel.estimate(Own(outside), "as_is", target="none", **SIZE)
    assert found.certainty.tensor_peak == "checked"
    assert found.notes[0].startswith("The first step differs from later ones, to which these figures apply")


def test_the_old_spectral_norm_under_autocast():
    def module():
        own = Own(lambda self, x: self.second(x))
        torch.nn.utils.spectral_norm(own.second)
        return own

    found = costmodel.estimate(module(), "as_is", target="none", amp="bfloat16", **SIZE)
    real = measure(module(), amp="bfloat16", **SIZE)
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)


def test_what_a_hook_alone_keeps_for_the_backward_pass_is_refused():
    def hooked(self, x):
        y = self.second(x)
        if y.requires_grad:
            factor = y.detach() * 2
            y.register_hook(lambda gradient: gradient * factor)
        return y

    with pytest.raises(CostmodelError, match=f"{MAP} bytes made .* are still allocated .* autograd does not know of"):
        measure(Own(hooked), **SIZE)
    notes = costmodel.estimate(Own(hooked), "as_is", **SIZE).notes
    assert any("16.38 kB are held beside autograd" in note for note in notes)


def test_steps_that_differ_are_refused_with_two_numbers():
    def by_turns(self, x):
        self.turn = not getattr(self, "turn", False)
        return self.second(x) if self.turn else self.second(x).relu()

    with pytest.raises(CostmodelError, match="leaves .* bytes allocated, and a later one .*: the steps differ"):
        measure(Own(by_turns), **SIZE)
    refuse_other_steps({1: 4, 2: 8}, {3: 12})
    refuse_what_is_kept_beside(0)


def test_a_number_in_place_counts_while_its_op_runs():
    def doubled(self, x):
        other = x * x
        other.mul_(2)
        return other + x

    found = costmodel.estimate(Own(doubled), "inference", target="none", **SIZE)
    real = measure(Own(doubled).requires_grad_(False), **SIZE)
    assert found.step_peak_bytes == real.tensor_peak_bytes


def pruned(layer):
    prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.parametrize("change", [pruned, torch.nn.utils.weight_norm, torch.nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_module_that_holds_results_of_an_earlier_run_can_be_measured(change):
    module = Own(lambda self, x: self.second(x))
    change(module.second)
    module(torch.randn(1, 3, 16, 16))
    assert not module.second.weight.is_leaf
    found, real = costmodel.estimate(module, "as_is", target="none", **SIZE), measure(module, **SIZE)
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)


def test_copies_of_results_share_what_these_share_and_are_constants():
    module = Own(lambda self, x: x)
    y = module.first(torch.randn(1, 3, 4, 4))
    module.maps, module.deep = [y, y[0]], {"map": (y,)}
    copied = copy_of(module)
    ours, part = copied.maps
    assert torch.equal(ours, y) and not ours.requires_grad and copied.deep["map"][0] is ours
    assert ours.data_ptr() == part.data_ptr() != y.data_ptr()
