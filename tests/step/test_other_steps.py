"""Modules whose steps differ from each other: the figures are of the steady state, and the rest is said."""

import gc

import pytest
import torch
from strange import Base
from torch import nn

import costmodel
from costmodel.frontends.modules.dry.step import dry_step
from costmodel.graph.dry import DryStep, Setting
from costmodel.graph.inputs import images
from costmodel.pytorch import measure
from costmodel.sizes.units import show_size
from costmodel.step.other_steps import of_other_steps, unsettled


class Cache(nn.Module):
    """Makes a map of zeros in its first step."""

    def __init__(self):
        super().__init__()
        self.zeros = None

    def forward(self, x):
        if self.zeros is None:
            self.zeros = torch.zeros(x.shape[1:])
        return x + self.zeros


class Counts(nn.Module):
    """Does something else in some steps."""

    def __init__(self, does):
        super().__init__()
        self.does, self.steps = does, 0

    def forward(self, x):
        self.steps += 1
        return x.exp() * x if self.does(self.steps) else x


class CountsInABuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.steps += 1
        return x


class Replaces(Base):
    """Replaces the data of a weight in each step: the old ones are freed, and the new ones are nobody's parameter."""

    def middle(self, x):
        self.fc.weight.data = self.fc.weight.data / 2
        return x


def estimated(module):
    return costmodel.estimate(module, "as_is", 3, 10, target="none")


def test_a_first_step_that_differs_is_told():
    found, real = estimated(Base(Cache())), measure(Base(Cache()), 3, 10)
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
    assert found.left_bytes == real.left_bytes
    left = real.left_bytes + 4 * 8 * 10 * 10  # the zeros of width 8 stay
    assert sum(f"it leaves {show_size(left)}" in note for note in found.notes) == 1


def test_what_a_step_replaces_is_freed_in_the_next_one():
    found, other = estimated(Replaces()), estimated(Base())
    new = 4 * 8 * 5  # the weight of fc, which is nobody's parameter when autograd keeps it
    assert found.saved_bytes == other.saved_bytes + new and found.left_bytes == other.left_bytes
    assert f"it leaves {show_size(other.left_bytes + new)}" in found.notes[1]


@pytest.mark.parametrize("does", [lambda n: n % 2 == 0, lambda n: n == 2])
def test_steps_that_differ_from_each_other_are_told(does):
    found = estimated(Base(Counts(does)))
    assert "each step differs from the one before" in found.notes[0] and found.certainty.saved == "dry"


def test_a_number_that_changes_is_named():
    found = estimated(Base(Counts(lambda n: n > 9)))
    assert found.certainty.saved == "checked"
    assert [note for note in found.notes if "changes extra.steps in each step" in note]
    assert [note for note in estimated(Base(CountsInABuffer())).notes if "changes extra.steps" in note]


def test_a_step_like_the_others_has_nothing_to_tell():
    assert estimated(Base()).notes == ()


def test_many_numbers_are_not_all_named():
    step = DryStep((), 0, {}, {}, frozenset(), {}, 0, 0, frozenset(), 0, 0)
    assert unsettled(step) == [] and of_other_steps(step) == ()
    named = of_other_steps(step._replace(counters=("a", "b", "c", "d")))
    assert len(named) == 1 and "a, b, c and more" in named[0]


class Keeps(Base):
    """Has a map of each step kept until the next one, beside autograd."""

    def __init__(self, keep):
        super().__init__()
        self.keep = keep

    def middle(self, x):
        y = x * 2
        self.keep(self, y)
        return torch.relu(y)


KEPT: dict = {}


def in_the_module(module, x):
    module.seen = x


def in_a_dict(module, x):
    KEPT["x"] = x


def in_a_list(module, x):
    KEPT.setdefault("list", [None])[0] = x


@pytest.mark.parametrize("keep", [in_the_module, in_a_dict, in_a_list])
def test_what_code_keeps_until_the_next_step(keep):
    """The first step keeps a map of 3 x 8 x 10 x 10 numbers more; in later ones another one of that size goes."""
    KEPT.clear()
    module = Keeps(keep)
    found, real = estimated(module), measure(module, 3, 10)
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
    assert found.left_bytes == real.left_bytes
    first = dry_step(Keeps(keep), images(10), 3, Setting(None, None, True)).first
    assert first == (real.saved_bytes, real.tensor_peak_bytes + 9600, real.left_bytes + 9600)


def test_what_an_activation_hook_keeps():
    """As torch's tutorials do: the hook of a layer puts what that returns into a dict."""
    module, activations = Base(nn.Conv2d(8, 8, 1)), {}
    module.extra.register_forward_hook(lambda layer, given, output: activations.update(extra=output))
    found, real = estimated(module), measure(module, 3, 10)
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)


class Cyclic(Base):
    """Leaves a map in a list that holds itself, until Python collects cycles."""

    def middle(self, x):
        kept = [x.exp()]
        kept.append(kept)
        return x


def test_no_cycle_is_collected_in_a_dry_step():
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        found = estimated(Cyclic())
    finally:
        gc.set_threshold(*threshold)
    real = measure(Cyclic(), 3, 10)
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
