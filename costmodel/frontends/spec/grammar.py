"""Reads a network from a YAML spec: a page of stages of blocks, or a plain list of nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...errors import CostmodelError, unknown
from ...files.document import Block, Field, read
from ...graph.checkpointing import nodes_in, reruns
from ...graph.graph import INPUT, Graph, why_not_yet
from ...graph.inputs import Inputs, images, read_inputs
from ...graph.network import DTYPE, Network
from ...graph.paths import prefixes
from ...ops._named_loss import OwnLoss
from ...sizes.dtype import find_dtype
from ...strategies._lite_residual import insert
from ..draft import head_of
from .blocks import BLOCKS, BlockBuilder, block_keys, block_naming
from .builder import Builder
from .idle import buffer_of, parameter_of

MOST_BLOCKS = 10_000

NETWORK = {
    "network": Field((str,), required=True),
    "reference": Field((str,)),
    "resolution": Field((int,), least=1),
    "inputs": Field((list,), []),
    "classes": Field((int,), required=True, least=1),
    "channels": Field((int,), 3, least=1),
    "width": Field((int, float), 1.0),
    "divisor": Field((int,), 8, least=1),
    "modules": Field((str, dict), "plain"),
    "norm": Field((dict,), {"op": "batch_norm"}),
    "activation": Field((dict,), {"op": "relu"}),
    "convolution": Field((dict,), {}),
    "lite_residual": Field((bool,), False),
    "squeeze_excite": Field((dict,)),
    "stochastic_depth": Field((int, float), 0.0, least=0),
    "add_inplace": Field((bool,), False),
    "stem": Field((list,), []),
    "stages": Field((list,), []),
    "tail": Field((list,), []),
    "nodes": Field((list,)),
    "blocks": Field((list,), []),
    "classifier": Field((str,), ""),
    "containers": Field((list,), []),
    "dtype": Field((str,), DTYPE),
    "checkpointed": Field((list,), []),
    "stateful": Field((list,), []),
    "idle": Field((list,), []),
    "idle_buffers": Field((list,), []),
    "outputs": Field((list,), []),
    "loss": Field((str,), ""),
}
LAYER = {  # a layer of the stem or the tail: a convolution with its norm and activation
    "conv": Field((int,), required=True, least=1),
    "times_input": Field((bool,), False),
    "scale": Field((str,), "width"),
    "kernel": Field((int, list), 1, least=1),
    "stride": Field((int, list), 1, least=1),
    "depthwise": Field((bool,), False),
    "bias": Field((bool,), False),
    "activation": Field((dict,)),
    "at": Field((list,), required=True),
}
NODE = {
    "name": Field((str,), required=True),
    "op": Field((str,), required=True),
    "inputs": Field((list,), []),
    "owner": Field((str,)),
    "trains": Field((list,), []),
    "until": Field((str,), ""),
    "records": Field((bool,), True),
}


class Spec:
    """A spec while it is read: its top-level values, the scaling of widths, and the nodes so far."""

    def __init__(self, block: Block, classes: int | None, width: float | None) -> None:
        self.block = block
        self.values = read(block, NETWORK)
        self.classes = self.values["classes"] if classes is None else classes
        self.width = self.values["width"] if width is None else width
        if not 0 <= self.values["stochastic_depth"] <= 1:
            found = self.values["stochastic_depth"]
            raise block.error(f"found {found!r}; allowed: a probability from 0 to 1", "stochastic_depth")
        if not 0 < self.width <= 1000:
            raise block.error(f"width is {self.width!r}; allowed: a number > 0, at most 1000")
        self.inputs = self._inputs()
        self.builder = Builder(self.inputs[0].shape, self.values["convolution"])

    def scaled(self, channels: int, scale: str = "width") -> int:
        """Channels under the width multiplier, rounded as the reference implementations round them."""
        factors: dict[str, float] = {"width": self.width, "fixed": 1.0, "at_least_one": max(1.0, self.width)}
        if scale not in factors:
            raise unknown("scale", scale, factors)
        return divisible(channels * factors[scale], self.values["divisor"]) if factors[scale] != 1.0 else channels

    def squeezed(self, channels: float, divisor: int) -> int:
        """Channels of the inner layer of squeeze-and-excite."""
        return max(1, int(channels)) if divisor == 1 else divisible(int(channels), divisor)

    def network(self) -> Network:
        """The network that the spec describes."""
        values = self.values
        blocks = self._nodes() if values["nodes"] is not None else self._page()
        nodes = self.builder.nodes
        if not nodes:
            raise self.block.error("the network has no layers; allowed: 'stem', 'stages' and 'tail', or 'nodes'")
        last = head_of(nodes)
        classifier = values["classifier"] or (last.name if last else "")
        beside: dict[str, Any] = {
            "checkpointed": tuple(self._scopes("checkpointed")),
            "stateful": frozenset(self._scopes("stateful")),
            "idle": tuple(self._each("idle", values["idle"], parameter_of)),
            "idle_buffers": tuple(self._each("idle_buffers", values["idle_buffers"], buffer_of)),
            "outputs": tuple(map(str, values["outputs"])),
            "loss": values["loss"],
            "input_bits": self.inputs[0].bits,
        }
        try:
            graph = Graph(tuple(nodes), tuple(blocks), classifier, frozenset(self._scopes("containers")), **beside)
            graph = insert(graph) if values["lite_residual"] else graph
            self._check_places(graph)
            reruns(graph)
            dtype = find_dtype(values["dtype"]).name
        except CostmodelError as error:
            raise error if str(error).startswith(self.block.source) else self.block.error(error) from None
        loss = OwnLoss(values["loss"]) if values["loss"] else None
        return Network(values["network"], graph, self.inputs, values["reference"], dtype=dtype, loss=loss)

    def _inputs(self) -> Inputs:
        """The inputs for which the network is made: images of its resolution, unless it says otherwise."""
        size, given = self.values["resolution"], self.values["inputs"]
        if (size is None) == (not given):
            raise self.block.error("the input's size is missing or given twice; allowed: 'resolution' or 'inputs'")
        try:
            return read_inputs([str(one) for one in given]) if given else images(size, self.values["channels"])
        except CostmodelError as error:
            raise self.block.error(error, "inputs") from None

    def _check_places(self, graph: Graph) -> None:
        """Raise CostmodelError for names of nodes and modules that are not where they have to be."""
        for key in ("checkpointed", "stateful"):
            for scope in self.values[key]:
                if not nodes_in(graph, scope):
                    raise self.block.error(f"no node stands in {scope!r}", key)
        number = {node.name: i for i, node in enumerate(graph.nodes)}
        for i, node in enumerate(graph.nodes):
            if node.until and number.get(node.until, -1) < i:
                raise self.block.error(
                    f"{node.name!r} is held until {node.until!r}; allowed: it or a later node", "nodes"
                )
        blocks = Counter(graph.blocks)
        for scope in graph.blocks:
            if blocks[scope] > 1 or any(above in blocks for above in prefixes(scope) if above != scope):
                raise self.block.error(f"{scope!r} is named twice, or is part of another block", "blocks")

    def _nodes(self) -> list[str]:
        """Append the nodes of a list. Gives the scopes of the blocks."""
        nodes = self.values["nodes"]
        others = [key for key in ("stem", "stages", "tail") if self.block.get(key)]
        if others:
            raise self.block.error(f"'nodes' stands beside {others[0]!r}; allowed: one of the two")
        if self.width != 1.0:
            raise self.block.error("a list of nodes has no width multiplier; allowed: width 1")
        self.reads = _reads(nodes)
        self._each("nodes", nodes, self._node)
        return self._scopes("blocks")

    def _page(self) -> list[str]:
        """Append the nodes of a page of stages. Gives the scopes of the blocks."""
        if self.values["blocks"]:
            raise self.block.error("blocks are named by the stages; allowed only beside 'nodes'", "blocks")
        self._each("stem", self.values["stem"], self._layer)
        blocks = self._stages()
        self._each("tail", self.values["tail"], self._layer)
        return blocks

    def _scopes(self, key: str) -> list[str]:
        """A list of paths of modules."""
        scopes = self.values[key]
        if not all(isinstance(scope, str) for scope in scopes):
            raise self.block.error(f"found {scopes!r}; allowed: a list of scopes", key)
        return scopes

    def _each(self, key: str, items: list[Any], read_item: Callable[[Block], Any]) -> list[Any]:
        """What each mapping of a list is read as."""
        found = []
        for i, item in enumerate(items):
            if not isinstance(item, Block):
                raise self.block.error(f"found {item!r}; allowed: a mapping", f"{key}[{i}]")
            try:
                found.append(read_item(item))
            except CostmodelError as error:
                raise error if str(error).startswith(item.source) else item.error(error) from None
        return found

    def _node(self, item: Block) -> None:
        own = read(item.only(NODE), NODE)
        fields = {key: value for key, value in item.items() if key not in NODE}
        for key, of in (("inputs", "nodes"), ("trains", "parameters")):
            if not all(isinstance(name, str) for name in own[key]):
                raise item.error(f"found {own[key]!r}; allowed: names of {of}", key)
        for name in own["inputs"]:
            if name in self.reads and name not in self.builder.shapes:
                raise CostmodelError(f"reads {name!r}, {why_not_yet(own['name'], name, self.reads)}")
        name = own["name"] if own["owner"] is None else f"{own['name']}@{own['owner']}"
        self.builder.add(name, own["op"], self._with_classes(fields), own["inputs"])
        nodes = self.builder.nodes
        nodes[-1] = replace(nodes[-1], trains=frozenset(own["trains"]), until=own["until"], records=own["records"])

    def _layer(self, item: Block) -> None:
        if "op" in item:
            fields = {key: value for key, value in item.items() if key not in ("at", "op", "scale")}
            for key, kind in (("at", str), ("op", str), ("scale", str)):
                if not isinstance(item.get(key, ""), kind):
                    raise item.error(f"found {item[key]!r}; allowed: a text", key)
            if "at" not in item:
                raise item.error("'at' is missing: the name of the node")
            if "scale" in item:
                if not isinstance(fields.get("out_features"), int):
                    raise item.error("only a number of out_features can be scaled here", "scale")
                fields["out_features"] = self.scaled(fields["out_features"], item["scale"])
            self.builder.add(item["at"], item["op"], self._with_classes(fields))
            return
        layer = read(item, LAYER)
        inputs = self.builder.shape[1]
        out = layer["conv"] * inputs if layer["times_input"] else self.scaled(layer["conv"], layer["scale"])
        if not layer["at"] or len(layer["at"]) > 3 or not all(isinstance(name, str) for name in layer["at"]):
            raise item.error(f"found {layer['at']!r}; allowed: the names of convolution, norm and activation", "at")
        self.builder.conv(
            layer["at"],
            out,
            layer["kernel"],
            layer["stride"],
            inputs if layer["depthwise"] else 1,
            layer["bias"],
            self.values["norm"],
            layer["activation"] or self.values["activation"],
        )

    def _with_classes(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {key: self.classes if value == "classes" else value for key, value in fields.items()}

    def _stages(self) -> list[str]:
        rows = []
        for i, item in enumerate(self.values["stages"]):
            if not isinstance(item, Block):
                raise self.block.error(f"found {item!r}; allowed: a mapping", f"stages[{i}]")
            kind = item.get("kind", "inverted_residual")
            if not isinstance(kind, str) or kind not in BLOCKS:
                raise item.error(unknown("kind of block", kind, BLOCKS), "kind")
            rows.append((item, kind, read(item, block_keys(kind))))
        naming = block_naming(self.values["modules"], self.block)
        total = sum(row["repeat"] for _, _, row in rows)
        if total > MOST_BLOCKS:
            raise self.block.error(f"{total} blocks; allowed: at most {MOST_BLOCKS}", "stages")
        scopes: list[str] = []
        number, stage, index = naming.first, -1, 0
        for item, kind, row in rows:
            number = number if row["number"] is None else row["number"]
            if not (row["continues"] and scopes):
                stage, index = stage + 1, 0
            for repeat in range(row["repeat"]):
                scope = naming.scope(k=number, stage=stage, index=index)
                block = BlockBuilder(
                    self,
                    scope,
                    naming,
                    row,
                    first=repeat == 0,
                    drop=self.values["stochastic_depth"] * len(scopes) / total,
                )
                try:
                    BLOCKS[kind].append(block)
                except CostmodelError as error:
                    raise error if str(error).startswith(item.source) else item.error(error) from None
                scopes.append(scope)
                number, index = number + 1, index + 1
        return scopes


def _reads(items: list[Any]) -> dict[str, list[str]]:
    """The inputs of each node of a list, by the node's name; a node without `inputs` reads the one before it."""
    reads, before = {}, INPUT
    for item in items:
        if isinstance(item, Block) and isinstance(item.get("name"), str):
            inputs = item.get("inputs")
            reads[item["name"]] = inputs if isinstance(inputs, list) and inputs else [before]
            before = item["name"]
    return reads


def divisible(channels: float, divisor: int) -> int:
    """Channels rounded to the nearest multiple of the divisor, but never down by more than 10 %.

    torchvision's _make_divisible and mnasnet's _round_to_multiple_of, timm's make_divisible.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
