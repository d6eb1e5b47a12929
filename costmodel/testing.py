"""For tests of your own: whether training a network fits a budget. With pytest, `assert_fits` is a fixture too."""

from __future__ import annotations

from typing import Any

from .frontends import load
from .step.estimate import Estimate
from .studies.fits import fits
from .studies.gate.results import OF_NETWORK
from .views.check_words import keepers_sentence, peak_sentences


def assert_fits(model: Any, budget: int | str, strategy: str = "full", batch: int = 8, **more: Any) -> Estimate:
    """Fail unless a training step of a network peaks within a budget; the message names the blocks that keep most.

    model: a torch.nn.Module, or anything `costmodel.load` takes. budget: as in "256MiB", or bytes. strategy: what
    trains; "as_is" uses a module's own flags and modes. more: further arguments of `costmodel.load` and
    `costmodel.estimate`. Returns the estimate. Raises CostmodelError for a bad request.
    """
    __tracebackhide__ = True
    of_network = {key: more.pop(key) for key in OF_NETWORK if key in more}
    answer = fits(load(model, **of_network), budget, strategy, batch, **more)
    if not answer:
        raise AssertionError(
            "\n".join([str(answer), *peak_sentences(answer.estimate), keepers_sentence(answer.estimate)])
        )
    return answer.estimate
