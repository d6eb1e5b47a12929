"""Published numbers, and the same numbers computed by the papers' own conventions (specs/papers/*.yaml)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..api import estimate
from ..errors import CostmodelError, unknown
from ..files.document import Block, Field, parse, read
from ..files.shipped import shipped_names, shipped_text
from ..frontends import load
from ..frontends.spec import from_paper
from ..step.estimate import Estimate

PAPER = {
    "paper": Field((str,), required=True),
    "title": Field((str,), required=True),
    "source": Field((str,), required=True),
    "inferred": Field((list,), []),
    "tables": Field((list,), required=True),
}
CLAIM = {
    "claim": Field((str,), required=True),
    "table": Field((str,), required=True),
    "published": Field((int, float), required=True),
    "unit": Field((str,), required=True),
    "network": Field((str,), required=True),
    "classes": Field((int,), required=True, least=1),
    "resolution": Field((int,), required=True, least=1),
    "batch": Field((int,), required=True, least=1),
    "strategy": Field((str,), ""),
    "convention": Field((str,), ""),
    "quantity": Field((str,), ""),
    "block": Field((str,), ""),
    "against": Field((str,), ""),
    "tolerance": Field((int, float, str), 0),
    "because": Field((str,), ""),
    "exact": Field((int,)),
    "pending": Field((str,), ""),
}
UNITS = {"B": 1, "KiB": 1024, "MiB": 2**20, "MB": 10**6, "MFLOP": 10**6, "MMAC": 2 * 10**6, "%": 1, "x": 1}
#: Units of numbers that are about a strategy beside another one.
RELATIVE = ("%", "x")
QUANTITIES: dict[str, Callable[[Estimate], int]] = {
    "peak": lambda e: e.memory_bytes["peak"],
    "saved": lambda e: e.saved_bytes,
    "forward": lambda e: e.flops["forward"] + e.flops["elementwise_forward"],
    "backward": lambda e: e.flops["backward"] + e.flops["elementwise_backward"],
    "twice_forward": lambda e: 2 * e.flops["forward"],
    "total": lambda e: QUANTITIES["forward"](e) + QUANTITIES["backward"](e),
}


class Claim(NamedTuple):
    """A published number, and the request that reproduces it.

    published: the number, in `unit`: a name of UNITS; % is the saving relative to the strategy `against`, x the
    quotient. tolerance: in the same unit; because: the reason for it. exact: what the paper's own arithmetic gives in
    bytes, if known. quantity: a name of QUANTITIES, of a single block if `block` names one. pending: why nothing is
    computed yet.
    """

    paper: str
    source: str
    table: str
    claim: str
    network: str
    strategy: str
    batch: int
    resolution: int
    classes: int
    convention: str
    quantity: str
    block: str
    against: str
    unit: str
    published: float
    tolerance: float
    because: str
    exact: int | None
    pending: str


class Result(NamedTuple):
    """A claim and the number computed for it, in bytes, FLOPs or percent; None if the claim is pending."""

    claim: Claim
    computed: int | float | None

    @property
    def in_unit(self) -> float | None:
        """The computed number, in the claim's unit."""
        return None if self.computed is None else self.computed / UNITS[self.claim.unit]

    @property
    def difference(self) -> float | None:
        """Computed minus published, in the claim's unit."""
        return None if self.in_unit is None else self.in_unit - self.claim.published

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance, and the number equals the exact one if that is known."""
        if self.difference is None:
            return True
        within = abs(self.difference) <= self.claim.tolerance
        return within and self.claim.exact in (None, self.computed)


@lru_cache(maxsize=1)
def claims() -> Sequence[Claim]:
    """Every claim of the shipped files, in order. Raises CostmodelError for a malformed file."""
    return tuple(
        claim
        for name in shipped_names("papers")
        for claim in claims_of(parse(shipped_text(f"papers/{name}.yaml"), f"papers/{name}.yaml"))
    )


def claims_of(document: Block) -> list[Claim]:
    """The claims of one file. A table's keys are defaults for its claims. Raises CostmodelError."""
    paper = read(document, PAPER)
    found = []
    for i, table in enumerate(paper["tables"]):
        if not isinstance(table, Block) or not isinstance(table.get("claims"), list):
            raise document.error(f"found {table!r}; allowed: a mapping with 'claims'", f"tables[{i}]")
        shared = {key: value for key, value in table.items() if key != "claims"}
        for row in table["claims"]:
            if not isinstance(row, Block):
                raise table.error(f"found {row!r}; allowed: a mapping", "claims")
            whole = Block(row.source, row.place, row.line)
            whole.update({**shared, **row})
            found.append(_claim(whole, paper["paper"], paper["source"]))
    return found


def _claim(row: Block, paper: str, source: str) -> Claim:
    values = read(row, CLAIM)
    if values["unit"] not in UNITS:
        raise row.error(unknown("unit", values["unit"], UNITS), "unit")
    if not values["pending"]:
        for key in ("strategy", "convention", "because"):
            if not values[key]:
                raise row.error(f"{key!r} is missing")
        if values["quantity"] not in QUANTITIES:
            raise row.error(unknown("quantity", values["quantity"], QUANTITIES), "quantity")
        if bool(values["against"]) != (values["unit"] in RELATIVE):
            raise row.error("'against' belongs to the units % and x, and these to 'against'")
        if values["block"] and values["quantity"] != "saved":
            raise row.error("a block has the quantity 'saved' alone", "block")
    values["tolerance"] = _tolerance(row, values["tolerance"], values["published"])
    return Claim(paper, source, **values)


def _tolerance(row: Block, value: int | float | str, published: float) -> float:
    """A tolerance in the claim's unit, from a number in that unit or from "N %" of the published number."""
    if not isinstance(value, str):
        return value
    share = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *%", value)
    if not share:
        raise row.error(f"found {value!r}; allowed: a number in the claim's unit, or a share as in 2 %", "tolerance")
    return abs(published) * float(share[1]) / 100


def compute(claim: Claim) -> Result:
    """The number that costmodel computes for a claim. Raises CostmodelError."""
    if claim.pending:
        return Result(claim, None)
    value = _quantity(claim, claim.strategy)
    if claim.against:
        before = _quantity(claim, claim.against)
        return Result(claim, before / value if claim.unit == "x" else 100 * (before - value) / before)
    return Result(claim, value)


def _quantity(claim: Claim, strategy: str) -> int:
    own = claim.network in shipped_names("papers/networks")
    network = from_paper(claim.network, claim.classes) if own else load(claim.network, claim.classes)
    found = estimate(network, strategy, claim.batch, claim.resolution, claim.convention)
    if not claim.block:
        return QUANTITIES[claim.quantity](found)
    blocks: dict[str, Any] = {block["name"]: block["saved"] for block in found.blocks}
    if claim.block not in blocks:
        raise CostmodelError(f"claim {claim.claim!r} of {claim.paper}: {unknown('block', claim.block, blocks)}")
    return blocks[claim.block]
