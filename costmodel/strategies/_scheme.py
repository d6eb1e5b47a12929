"""Schemes of sparse updates: which biases and weights train, as a text or as a file (specs/schemes/*.yaml).

network: mcunet_5fps          # a note
convolutions: 42              # of the network, if that is to be checked
bias: 22                      # of the last convolutions
weights: {21: 1, 36: 0.125}   # convolution, from 0 in forward order: share of its input channels
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import CostmodelError, unknown

FOLDER = "schemes"
ALLOWED = (
    "CONVOLUTION:SHARE joined by slashes, as in 21:1/36:.125, each convolution once, shares as decimals above 0 and at"
    " most 1"
)


class Scheme(NamedTuple):
    """A sparse update. bias: how many of the last convolutions train their bias. weights: convolution -> share.

    convolutions: of the network that it is for; None for any.
    """

    bias: int
    weights: Mapping[int, float]
    convolutions: int | None = None


def shares(text: str) -> dict[int, float]:
    """Parser of `weights`."""
    found: dict[int, float] = {}
    for piece in text.split("/"):
        match = re.fullmatch(r"([0-9]{1,9}):([0-9]*\.?[0-9]+)", piece)
        if not match or not 0 < float(match[2]) <= 1 or int(match[1]) in found:
            raise ValueError(ALLOWED)
        found[int(match[1])] = float(match[2])
    return found


def read(name: str) -> Scheme:
    """The scheme of a file, or a shipped one. Raises CostmodelError with file and line."""
    from ..files.document import Field, parse  # reads YAML, which is slow to import
    from ..files.document import read as checked
    from ..files.reading import text_of
    from ..files.shipped import shipped_names, shipped_text

    if name.endswith((".yaml", ".yml")):
        document = parse(text_of(name), name)
    elif name in shipped_names(FOLDER):
        document = parse(shipped_text(f"{FOLDER}/{name}.yaml"), f"{name}.yaml")
    else:
        raise CostmodelError(f"{unknown('scheme', name, shipped_names(FOLDER))}, or a path to a .yaml file")
    schema: dict[str, Any] = {
        "network": Field((str,)),
        "convolutions": Field((int,), least=1),
        "bias": Field((int,), required=True, least=0),
        "weights": Field((dict,), {}),
    }
    given = checked(document, schema)
    try:
        weights = shares("/".join(f"{k}:{v}" for k, v in given["weights"].items())) if given["weights"] else {}
    except ValueError as error:
        raise document.error(f"found {dict(given['weights'])}; allowed: {error}", "weights") from None
    return Scheme(given["bias"], weights, given["convolutions"])
