"""Holds steps against their budgets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from ...api import estimate
from ...errors import CostmodelError
from ...frontends import load_or_dry
from ...graph.network import Network
from ...step.estimate import Estimate
from ..fit import check_has_peak
from .settings import Check, Settings

#: Arguments of `load`; the others are `estimate`'s.
OF_NETWORK = ("network", "classes", "width", "blocks_are", "allow_unknown", "strict", "inputs", "loss", "targets")
#: Networks that are loaded, by the arguments of `load`.
Loaded = dict[tuple[tuple[str, Any], ...], Network]


class Result(NamedTuple):
    """What came of a check: an estimate, or an error. seconds: that it took."""

    check: Check
    estimate: Estimate | None
    error: str
    seconds: float = 0.0

    @property
    def headroom(self) -> int:
        """Bytes of the budget that the peak leaves; below 0: what is missing."""
        assert self.estimate is not None
        return self.check.budget - self.estimate.peak_bytes

    @property
    def fits(self) -> bool:
        """Whether the peak is within the budget; not if there is none."""
        return self.estimate is not None and self.headroom >= 0


def results_of(settings: Settings) -> list[Result]:
    """The result of every check, in their order. Networks are loaded from the settings' folder."""
    loaded: Loaded = {}
    with within(settings.folder):
        return [result_of(check, loaded) for check in settings.checks]


def result_of(check: Check, loaded: Loaded) -> Result:
    """The result of a check. loaded: the networks that are there already."""
    start = perf_counter()
    found, wrong = None, check.wrong
    try:
        if not wrong:
            found = priced(check, loaded)
    except CostmodelError as error:
        wrong = str(error)
    return Result(check, found, wrong, perf_counter() - start)


def priced(check: Check, loaded: Loaded) -> Estimate:
    """The estimate of a check's step. Raises CostmodelError, with the place, if there is none."""
    of_network = {key: value for key, value in check.asked.items() if key in OF_NETWORK}
    side = check.asked.get("resolution")  # at which a module is traced
    key = tuple(sorted((name, str(value)) for name, value in {**of_network, "resolution": side}.items()))
    try:
        if key not in loaded:
            loaded[key] = load_or_dry(resolution=side, **of_network)
    except CostmodelError as error:
        raise check.place.error(error, "network") from None
    try:
        found = estimate(loaded[key], **{key: value for key, value in check.asked.items() if key not in OF_NETWORK})
        check_has_peak(found)
        found.blocks  # noqa: B018  (everything is computed here, where an error has its place)
    except CostmodelError as error:
        raise check.place.error(error) from None
    return found


@contextmanager
def within(folder: Path) -> Iterator[None]:
    """The current folder is another one: paths and packages are looked for there."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
