"""Estimates without a timeline say so, by one error, whatever is asked of it."""

import pytest
from torch import nn

import costmodel
from costmodel.errors import CostmodelError

OF_TIMELINES = ("timeline", "levels", "at_peak", "peak_at", "peak_event", "left_bytes", "slot_sizes")


@pytest.mark.parametrize("name", [*OF_TIMELINES, "step_peak_bytes"])
def test_a_convention_that_only_counts(name):
    estimate = costmodel.estimate("mcunet_5fps", "bias", 2, convention="ideal")
    with pytest.raises(CostmodelError, match="convention 'ideal' has no timeline of a step; allowed: torch, lean"):
        getattr(estimate, name)
    assert estimate.peak_bytes is None


class Doubled(nn.Module):
    """It keeps a map beside autograd's, of which no layer tells."""

    def __init__(self):
        super().__init__()
        self.layer, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        y = self.layer(x)
        self.kept = y.detach().clone()
        return self.fc(y.mean((2, 3)))


@pytest.mark.parametrize("name", [one for one in OF_TIMELINES if one != "left_bytes"])
def test_a_dry_step(name):
    estimate = costmodel.estimate(Doubled(), "full", 2, 9)
    assert estimate.certainty.saved == "dry" and estimate.step_peak_bytes > 0 and estimate.left_bytes > 0
    with pytest.raises(CostmodelError, match="Doubled: its figures are those of a dry step, whose events are not kept"):
        getattr(estimate, name)
