"""Forms behind strategies: what composes equals a real run on random networks, and what does not is refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import FAST, SLOW, block_networks, loaded, node_networks
from torch import nn

import costmodel
from costmodel.errors import CostmodelError
from costmodel.pytorch.validate import validate


@st.composite
def compositions(draw):
    """A strategy with one or two forms after it."""
    base = draw(st.sampled_from(["full", "blocks:1", "mobiletl:1", "full,checkpoint=blocks", "full,recompute=none"]))
    forms = st.sampled_from(
        ["iabn", "quantised", "quantised,bits=2", "backrazor,rho=.8", "gradfilter:1", "gradfilter:2,r=1"]
    )
    return "+".join([base, *draw(st.lists(forms, min_size=1, max_size=2))])


NETWORKS = st.one_of(block_networks(), node_networks())


def holds_or_is_refused(spec, strategy):
    try:
        checks = validate(loaded(spec), strategy, 2, None, "lean", target="cpu")
    except CostmodelError as error:
        reasons = (
            "form", "allowed", "no output", "batch statistics", "patches", "has no norm", "no block", "checkpointed",
        )  # fmt: skip
        assert any(reason in str(error) for reason in reasons), error
        return
    for check in checks:
        told = check.predicted <= check.measured if check.bound else check.error == 0
        assert told, (strategy, check)


@FAST
@given(NETWORKS, compositions())
def test_a_random_network_in_a_random_composition(spec, strategy):
    holds_or_is_refused(spec, strategy)


@pytest.mark.slow
@SLOW
@given(NETWORKS, compositions())
def test_many_random_networks_in_random_compositions(spec, strategy):
    holds_or_is_refused(spec, strategy)


@pytest.mark.parametrize("strategy, message", [
    ("backrazor,rho=1", "rho is '1'; allowed: a number above 0 and below 1"),
    ("backrazor,rho=nan", "rho is 'nan'; allowed: a number above 0"),
    ("full+backrazor,rho=0", "rho is '0'; allowed: a number above 0"),
    ("quantised,bits=3", "bits is '3'; allowed: 1, 2, 4, 8"),
    ("full+quantised,size=4", "unknown option of quantised 'size'.*allowed: bits"),
    ("full+quantised,checkpoint=blocks", "unknown option of quantised 'checkpoint'"),
    ("full+quantised:4", r"found quantised:4; allowed: quantised"),
    ("gradfilter", "found no convolutions; allowed: 1 to 42"),
    ("gradfilter:43", "found 43 convolutions; allowed: 1 to 42"),
    ("gradfilter:2,r=0", "r is '0'; allowed: an integer >= 1"),
    ("gradfilter:2,r=9", "patches of 9 pixels are larger than the output 2x576x4x4"),
    ("sparse", "found a scheme and options, or neither"),
    ("sparse:mcunet-100kb,bias=3", "found a scheme and options, or neither"),
    ("sparse:mcunet-100", "unknown scheme 'mcunet-100'; did you mean 'mcunet-100kb'"),
    ("sparse:mbv2-100kb", "mbv2-100kb is for 51 convolutions; allowed: 42, this network's"),
    ("sparse:nowhere.yaml", "cannot read 'nowhere.yaml'"),
    ("sparse,bias=43", "bias is 43; allowed: 0 to 42"),
    ("sparse,bias=2,weights=42:.5", "weights has convolution 42; allowed: 0 to 41"),
    ("sparse,weights=3:2", "weights is '3:2'; allowed: CONVOLUTION:SHARE"),
    ("last+gradfilter:1", "found no convolution of two-dimensional maps whose weight trains"),
    ("sparse,weights=1:.5/1:.5", "allowed: CONVOLUTION:SHARE .*, each convolution once"),
    ("full+quantised,bits=4,bits=2", "bits is given twice to quantised; allowed: once"),
    ("layers:" + 43 * "0", "found no 1, so that nothing trains; allowed: one or more"),
    ("gradfilter:1,r=1000000", "r is '1000000'; allowed: an integer from 1 to 999,999"),
    ("lora:1000000", "found rank '1000000'; allowed: an integer from 1 to 999,999"),
    ("full+quantised+backrazor", "is in a form already .rounded to a few bits.; allowed: one form for each layer"),
])  # fmt: skip
def test_what_does_not_compose_is_one_message(strategy, message):
    with pytest.raises(CostmodelError, match=message):
        costmodel.estimate("mcunet_5fps", strategy, 2, convention="lean")


def test_what_has_no_convolution_of_maps_is_told():
    class Signals(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv1d(3, 8, 3), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(torch.relu(self.conv(x)).mean(2))

    with pytest.raises(CostmodelError, match="found no convolution of two-dimensional maps; allowed: networks with"):
        costmodel.estimate(Signals(), "gradfilter:1", 2, convention="lean", inputs=(3, 16))
