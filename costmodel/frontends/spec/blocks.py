"""The kinds of block in a spec's stages, and the names that an implementation gives to their modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from string import Template
from typing import Any, NamedTuple

from ...errors import CostmodelError, unknown
from ...files.document import Block, Field, parse, read
from ...files.shipped import shipped_text
from .builder import split

_ROLE = Field((list,), [])
ROLES = ("conv", "start", "expand", "depthwise", "squeeze_excite", "project", "second", "shortcut")
NAMING = {
    "first": Field((int,), 0),
    "first_stage": Field((int,), 0),
    "block": Field((str,), required=True),
    **{role: _ROLE for role in ROLES},
    "project_unexpanded": _ROLE,
    "drop": Field((str,), "drop"),
    "add": Field((str,), "add"),
    "last": Field((str,), "last"),
}


class Naming(NamedTuple):
    """Module paths of an implementation, as templates.

    In the path of a block, $k counts blocks from `first`, $stage counts stages from `first_stage`, and $index counts
    blocks within the stage. Within a block, $i counts its roles (expansion, depthwise, ...) from 0 and $j from 1.
    """

    first: int
    first_stage: int
    templates: Mapping[str, Any]

    def scope(self, k: int, stage: int, index: int) -> str:
        """Path of a block."""
        return Template(self.templates["block"]).substitute(k=k, stage=stage + self.first_stage, index=index)

    def names(self, scope: str, role: str, i: int) -> list[str]:
        """Node names of a role within a block, in order of execution."""
        return [place(scope, Template(name).substitute(i=i, j=i + 1)) for name in self.templates[role]]


def place(scope: str, name: str) -> str:
    """A NAME or NAME@OWNER within a block as a path from the network's root."""
    return "@".join(f"{scope}.{path}" for path in name.split("@"))


def block_naming(modules: str | Block, at: Block) -> Naming:
    """The naming that a spec asks for: one of specs/modules.yaml by name, or a mapping of the spec's own."""
    if isinstance(modules, str):
        known = _shipped_namings()
        if modules not in known:
            raise at.error(unknown("naming", modules, known), "modules")
        mapping = known[modules]
    else:
        mapping = modules
    templates = read(mapping, NAMING)
    naming = Naming(templates["first"], templates["first_stage"], templates)
    for role, names in templates.items():
        try:
            naming.scope(0, 0, 0) if role == "block" else isinstance(names, list) and naming.names("", role, 0)
        except (TypeError, KeyError, ValueError):
            raise mapping.error(
                f"found {names!r}; allowed: paths with $i and $j, a block's with $k, $stage, $index", role
            ) from None
    return naming


@lru_cache(maxsize=1)
def _shipped_namings() -> Block:
    return parse(shipped_text("modules.yaml"), "modules.yaml")


class Kind(NamedTuple):
    """A kind of block: the keys of its stage row, and the function that appends the nodes of one block."""

    keys: dict[str, Field]
    append: Callable[..., None]


COMMON = {
    "kind": Field((str,)),
    "out": Field((int,), required=True, least=1),
    "repeat": Field((int,), 1, least=1),
    "stride": Field((int,), 1, least=1),  # of the first block; the repeated ones have stride 1
    "activation": Field((dict,)),
    "number": Field((int,)),  # $k of the first block, where the reference skips numbers
    "continues": Field((bool,), False),  # the row belongs to the stage of the row above
}
EXPANSION = {
    "expand": Field((int, float), above=0),  # ratio to the block's input
    "expanded": Field((int,), least=1),  # or channels, before the width multiplier
}


def block_keys(kind: str) -> dict[str, Field]:
    """The keys that a stage row of this kind may have."""
    return {**COMMON, **BLOCKS[kind].keys}


def inverted_residual(block: BlockBuilder) -> None:
    """1x1 expansion, depthwise convolution, squeeze-and-excite, 1x1 projection, and a residual sum if shapes allow."""
    expanded, out = block.expanded(), block.out()
    widens = expanded != block.inputs
    if widens:
        block.conv("expand", expanded, 1)
    block.conv("depthwise", expanded, block.row["kernel"], block.stride, expanded)
    if block.row["squeeze_excite"]:
        block.squeeze_excite(expanded)
    block.conv("project" if widens or not block.has("project_unexpanded") else "project_unexpanded", out, 1)
    block.residual()


def universal(block: BlockBuilder) -> None:
    """MobileNetV4's universal inverted bottleneck: optional depthwise convolutions before and after the expansion."""
    expanded, start, middle = block.expanded(), block.row["start"], block.row["middle"]
    if start:
        block.conv("start", block.inputs, start, 1 if middle else block.stride, block.inputs)
    block.conv("expand", expanded, 1)
    if middle:
        block.conv("depthwise", expanded, middle, block.stride, expanded)
    block.conv("project", block.out(), 1)
    block.residual()


def convolution(block: BlockBuilder) -> None:
    """One convolution with norm and activation."""
    block.conv("conv", block.out(), block.row["kernel"], block.stride)


def basic(block: BlockBuilder) -> None:
    """ResNet's basic block: two convolutions, the sum with the input or its 1x1 convolution, and an activation."""
    out, kernel = block.out(), block.row["kernel"]
    block.conv("conv", out, kernel, block.stride)
    block.conv("second", out, kernel)
    block.join("shortcut", out)


BLOCKS: dict[str, Kind] = {
    "inverted_residual": Kind(
        {**EXPANSION, "kernel": Field((int,), 3, least=1), "squeeze_excite": Field((bool,), False)}, inverted_residual
    ),
    "universal": Kind({**EXPANSION, "start": Field((int,), 0), "middle": Field((int,), 0)}, universal),
    "conv": Kind({"kernel": Field((int,), 3, least=1)}, convolution),
    "basic": Kind({"kernel": Field((int,), 3, least=1)}, basic),
}

SQUEEZE_EXCITE = {
    "of": Field((str,), "expanded"),  # the squeezed width is a ratio of these channels: "input" or "expanded"
    "ratio": Field((int, float), 0.25, above=0),
    "divisor": Field((int,), 8, least=1),
    "activation": Field((dict,), {"op": "relu"}),
    "gate": Field((dict,), {"op": "sigmoid"}),
}


class BlockBuilder:
    """A block under construction: its stage's row, its input, and the number of roles so far.

    first: whether this is the first block of its row; drop: the probability of stochastic depth.
    """

    def __init__(self, spec: Any, scope: str, naming: Naming, row: Mapping[str, Any], first: bool, drop: float) -> None:
        self.spec, self.scope, self.naming, self.row, self.drop = spec, scope, naming, row, drop
        self.builder = spec.builder
        self.entry = self.builder.last
        self.inputs = self.builder.shape[1]
        self.stride = row["stride"] if first else 1
        self.count = 0

    def has(self, role: str) -> bool:
        """Whether the naming has names for this role."""
        return bool(self.naming.templates[role])

    def out(self) -> int:
        """Channels of the block's output."""
        return self.spec.scaled(self.row["out"])

    def expanded(self) -> int:
        """Channels after the expansion; the block's input channels if its row has neither `expand` nor `expanded`."""
        ratio, channels = self.row["expand"], self.row["expanded"]
        if ratio is not None and channels is not None:
            raise CostmodelError("'expand' stands beside 'expanded'; allowed: one of the two")
        if channels is not None:
            return self.spec.scaled(channels)
        return max(1, round(self.inputs * (1 if ratio is None else ratio)))

    def conv(self, role: str, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        """Append a convolution, then a norm and an activation if the role has names for them."""
        values = self.spec.values
        self.builder.conv(
            self._names(role),
            out,
            kernel,
            stride,
            groups,
            False,
            values["norm"],
            self.row["activation"] or values["activation"],
        )

    def squeeze_excite(self, expanded: int) -> None:
        """Append pooling, two 1x1 convolutions with activations, and the product with the tensor that was pooled."""
        given = self.spec.values["squeeze_excite"]
        if given is None:
            raise self.spec.block.error("a stage has squeeze_excite, so the network must say how: key missing")
        how = read(given, SQUEEZE_EXCITE)
        channels = {"input": self.inputs, "expanded": expanded}
        if how["of"] not in channels:
            raise given.error(unknown("value", how["of"], channels), "of")
        squeezed = self.spec.squeezed(channels[how["of"]] * how["ratio"], how["divisor"])
        x = self.builder.last
        pool, reduce, activation, expand, gate, mul = self._names("squeeze_excite")
        self.builder.add(pool, "adaptive_avg_pool2d")
        self.builder.conv([reduce, activation], squeezed, 1, bias=True, norm=how["activation"])
        self.builder.conv([expand, gate], expanded, 1, bias=True, norm=how["gate"])
        self.builder.add(mul, "mul", inputs=(self.builder.last, x))

    def residual(self) -> None:
        """Append stochastic depth and the sum with the block's input, if stride and channels allow it."""
        if self.stride != 1 or self.builder.shape != self.builder.shapes[self.entry]:
            return
        if self.drop:
            self.builder.add(place(self.scope, self.naming.templates["drop"]), "stochastic_depth", {"p": self.drop})
        self.builder.add(
            place(self.scope, self.naming.templates["add"]),
            "add",
            {"inplace": self.spec.values["add_inplace"]},
            (self.builder.last, self.entry),
        )

    def join(self, role: str, out: int) -> None:
        """Append the sum with the block's input, by a 1x1 convolution where shapes differ, and an activation."""
        main, entry = self.builder.last, self.entry
        if self.stride != 1 or self.builder.shape != self.builder.shapes[entry]:
            self.builder.last = entry
            self.conv(role, out, 1, self.stride)
            entry = self.builder.last
        fields = {"inplace": self.spec.values["add_inplace"]}
        self.builder.add(place(self.scope, self.naming.templates["add"]), "add", fields, (main, entry))
        activation = self.row["activation"] or self.spec.values["activation"]
        self.builder.add(place(self.scope, self.naming.templates["last"]), *split(activation))

    def _names(self, role: str) -> tuple[str, ...]:
        names = self.naming.names(self.scope, role, self.count)
        least, most = (6, 6) if role == "squeeze_excite" else (1, 3)
        if not least <= len(names) <= most:
            raise self.spec.block.error(f"the naming has {len(names)} names for {role!r}; allowed: {least} to {most}")
        self.count += 1
        return tuple(names)
