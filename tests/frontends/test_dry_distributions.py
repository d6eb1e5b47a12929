"""Losses by torch.distributions, which look whether their arguments are valid: dry steps equal real ones."""

import inspect

import pytest
import torch
from real import seldom
from torch import distributions as d
from torch import nn
from torch.nn import functional as F

import costmodel
from costmodel import CostmodelError
from costmodel.frontends.modules.validation import QUESTION, arguments_are_valid
from costmodel.pytorch import measure

ASKS = QUESTION in inspect.getsource(d.Distribution)
pytestmark = pytest.mark.skipif(not ASKS, reason="this torch asks a tensor itself whether it holds")
BATCH, WIDTH = 32, 8


@pytest.fixture(autouse=True)
def validated(monkeypatch):
    """Arguments are checked, also after torch.compile has switched that off for good."""
    monkeypatch.setattr(d.Distribution, "_validate_args", True)


def positive(x):
    return F.softplus(x) + 0.1


#: Losses of what the network returns.
LOSSES = {
    "reparametrised": lambda x: d.Normal(x, positive(x)).rsample().pow(2).mean(),
    "entropy": lambda x: -d.Categorical(logits=x).entropy().mean(),
    "divergence": lambda x: d.kl_divergence(d.Normal(x, positive(x)), d.Normal(0.0, 1.0)).mean(),
    "likelihood": lambda x: -d.Bernoulli(logits=x).log_prob(torch.zeros(x.shape)).mean(),
}
MORE = {
    "without checks": lambda x: d.Normal(x, positive(x), validate_args=False).rsample().pow(2).mean(),
    "with checks": lambda x: d.Normal(x, positive(x), validate_args=True).rsample().pow(2).mean(),
    "shares": lambda x: -d.Categorical(probs=x.softmax(1)).entropy().mean(),
    "a policy": lambda x: d.Categorical(logits=x).log_prob(d.Categorical(logits=x).sample()).mean(),
    "beta": lambda x: d.Beta(positive(x), positive(x)).rsample().mean(),
    "gamma": lambda x: d.Gamma(positive(x), positive(x)).rsample().mean(),
    "dirichlet": lambda x: d.Dirichlet(positive(x)).rsample().pow(2).mean(),
    "independent": lambda x: -d.Independent(d.Normal(x, positive(x)), 1).log_prob(torch.zeros(x.shape)).mean(),
    "a covariance": lambda x: -d.MultivariateNormal(x, torch.eye(WIDTH)).log_prob(torch.zeros(x.shape)).mean(),
    "relaxed": lambda x: d.RelaxedOneHotCategorical(torch.tensor(0.5), logits=x).rsample().pow(2).mean(),
    "a mixture": lambda x: (
        -d.MixtureSameFamily(d.Categorical(logits=x), d.Normal(x, positive(x))).log_prob(torch.zeros(BATCH)).mean()
    ),
    "squashed": lambda x: d.TransformedDistribution(d.Normal(x, positive(x)), [d.TanhTransform()]).rsample().mean(),
}


@pytest.mark.parametrize("name", [*LOSSES, *seldom(*MORE)])
def test_a_loss_by_a_distribution(name):
    loss, net = {**LOSSES, **MORE}[name], nn.Linear(6, WIDTH)
    found = costmodel.estimate(net, "as_is", BATCH, inputs=(6,), loss=loss, target="none")
    real = measure(net, BATCH, inputs=(6,), loss=loss)
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)


def test_a_check_counts_at_the_peak():
    """Beside the map, whether each of its numbers is valid, and the same of the deviations, one expanded number."""

    class Asks(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            d.Normal(y, 1.0)
            return y

    net = Asks(6, WIDTH)
    found = costmodel.estimate(net, "inference", BATCH, inputs=(6,), target="none")
    frozen = net.eval().requires_grad_(False)
    assert found.step_peak_bytes == measure(frozen, BATCH, inputs=(6,)).tensor_peak_bytes
    assert found.step_peak_bytes == BATCH * WIDTH * (4 + 1 + 1) + 4


def test_what_has_data_is_still_looked_at():
    def loss(x):
        return (x * d.Normal(0.0, -1.0).sample()).mean()

    with pytest.raises(CostmodelError, match="Expected parameter scale"):
        costmodel.estimate(nn.Linear(6, WIDTH), "as_is", BATCH, inputs=(6,), loss=loss)


def test_distributions_ask_as_before_afterwards():
    ask = getattr(torch, QUESTION)
    with arguments_are_valid():
        assert getattr(torch, QUESTION) is not ask
        assert not getattr(torch, QUESTION)(torch.tensor([True, False]))
    assert getattr(torch, QUESTION) is ask
    with pytest.raises(ValueError, match="invalid values"):
        d.Normal(torch.zeros(2), torch.tensor([1.0, -1.0]))
