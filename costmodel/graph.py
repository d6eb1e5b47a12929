"""The layer graph: immutable nodes in order of execution, each an op that reads earlier values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Callable, Dict, FrozenSet, Mapping, Optional, Sequence, Tuple

from .errors import CostmodelError, unknown
from .op import Extra, Op

INPUT = "input"  # the name of the image batch, which every graph reads


def within(name: str, scope: str) -> bool:
    """Whether a node of this name stands in the module `scope` (or is it)."""
    return name == scope or name.startswith(scope + ".")


@dataclass(frozen=True)
class Node:
    """One op applied to named values. Its output is the value that bears its name.

    name: unique, the path of the modules in which it runs, outermost first, then its own ("features.1.conv.0.0").
    owner: path of the module that holds its parameters: `name` itself, unless the op is part of a composite module
        (timm's BatchNormAct2d) or its module is called more than once; "" for the network itself.
    trains: the parameters that get a gradient.
    until: the last node during which a call frame holds the output, where a trace has recorded it; otherwise it
        follows from the modules' paths.
    """

    name: str
    op: Op
    inputs: Tuple[str, ...]
    trains: FrozenSet[str] = frozenset()
    owner: Optional[str] = None
    until: str = ""

    def __post_init__(self) -> None:
        if self.owner is None:
            object.__setattr__(self, "owner", self.name)

    @property
    def scope(self) -> str:
        """Path of the module whose forward runs this node; "" for the network's own."""
        return self.name.rpartition(".")[0]

    def __str__(self) -> str:
        trains = f"  trains {', '.join(sorted(self.trains))}" if self.trains else ""
        return f"{self.name} = {self.op}({', '.join(self.inputs)}){trains}"


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in order of execution; the last one's value is the result.

    Values are numbered: 0 is the image batch, i + 1 the output of node i.
    blocks: scopes of the blocks, in order; classifier: scope of what the network itself calls its classifier.
    containers: scopes that only hold modules and are never called themselves (torch.nn.ModuleList).
    idle: (owner, name, shape) of parameters that the module holds and no node uses; they never train.
    as_is: the graph in the module's own modes, where they are not training's; its own flags are in `trains` either way.
    checkpointed: scopes that keep only what they are given, and run again in the backward pass.
    prefix_slices: into how many slices of the batch the part that runs without autograd may be cut.
    Raises CostmodelError where a name is taken twice, a value is read before it is made or never, an op gets the
    wrong number of inputs, or a parameter that is not there is said to train.
    """

    nodes: Tuple[Node, ...]
    blocks: Tuple[str, ...] = ()
    classifier: str = ""
    containers: FrozenSet[str] = frozenset()
    prefix_slices: int = 1
    checkpointed: Tuple[str, ...] = ()
    as_is: Optional["Graph"] = None
    idle: Tuple[Tuple[str, str, Tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        if not self.nodes:
            raise CostmodelError("the graph has no nodes")
        made = {INPUT}
        shapes: Dict[Tuple[str, str], Tuple[int, ...]] = {}
        scopes = set()
        reads = {node.name: node.inputs for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                if name in made:
                    continue
                if name in reads:
                    raise CostmodelError(f"node {node.name!r} reads {name!r}, {why_not_yet(node.name, name, reads)}")
                raise CostmodelError(f"node {node.name!r}: {unknown('input', name, made)}")
            if node.name in made:
                raise CostmodelError(f"two nodes are called {node.name!r}")
            if not all(node.name.split(".")):
                raise CostmodelError(f"a node is called {node.name!r}; allowed: names joined by single dots")
            made.add(node.name)
            scopes.update(_scopes(node.name))
            for name, shape in node.op.params().items():
                if shapes.setdefault((node.owner, name), shape) != shape:
                    first = shapes[node.owner, name]
                    raise CostmodelError(f"node {node.name!r}: {node.owner}.{name} has shape {first}, not {shape}")
            if len(node.inputs) != len(node.op.inputs):
                raise CostmodelError(
                    f"node {node.name!r} has {len(node.inputs)} inputs; {node.op.kind} takes {len(node.op.inputs)}"
                )
            missing = node.trains - node.op.params().keys()
            if missing:
                raise CostmodelError(f"node {node.name!r} has no parameter {', '.join(sorted(missing))} to train")
        unread = reads.keys() - {name for node in self.nodes for name in node.inputs} - {self.nodes[-1].name}
        if unread:
            raise CostmodelError(f"no node reads {', '.join(map(repr, sorted(unread)))}, and it is not the result")
        for scope in (*self.blocks, *([self.classifier] if self.classifier else [])):
            if scope not in scopes:
                raise CostmodelError(f"no node stands in {scope!r}, which is named as a block or the classifier")

    def __str__(self) -> str:
        return "\n".join(str(node) for node in self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def map(self, change: Callable[[Node], Node]) -> "Graph":
        """The graph with every node changed by a function."""
        return replace(self, nodes=tuple(change(node) for node in self.nodes))

    @cached_property
    def reads(self) -> Tuple[Tuple[int, ...], ...]:
        """For each node, the numbers of the values it reads."""
        number = {INPUT: 0, **{node.name: i + 1 for i, node in enumerate(self.nodes)}}
        return tuple(tuple(number[name] for name in node.inputs) for node in self.nodes)

    @cached_property
    def content(self) -> Tuple[int, ...]:
        """For each value, the first value with the same content: a view is its input again."""
        content = [0]
        for node, reads in zip(self.nodes, self.reads):
            content.append(content[reads[0]] if node.op.is_view else len(content))
        return tuple(content)

    @cached_property
    def resident(self) -> FrozenSet[int]:
        """The values that are parameters or buffers of the network, seen as they are or in another shape."""
        own = {i + 1 for i, node in enumerate(self.nodes) if node.op.is_resident}
        return frozenset(v for v, first in enumerate(self.content) if first in own) if own else frozenset()

    @cached_property
    def bits(self) -> Tuple[int, ...]:
        """For each value, bits per element; 0: of the network's own data type."""
        own = (0, *(node.op.bits for node in self.nodes))
        return tuple(own[first] for first in self.content)

    @cached_property
    def wants_gradient(self) -> Tuple[bool, ...]:
        """For each value, whether its gradient is computed: something that trains lies before it."""
        wants = [False]
        for node, reads in zip(self.nodes, self.reads):
            passed = (v for name, v in zip(node.op.inputs, reads) if name not in node.op.shape_only)
            wants.append(bool(node.trains) or any(wants[v] for v in passed))
        return tuple(wants)

    @cached_property
    def demanded(self) -> Tuple[Tuple[str, ...], ...]:
        """For each node, the gradients that its backward computes: names of inputs and parameters."""
        return tuple(
            tuple(
                name
                for name, v in zip(node.op.inputs, reads)
                if self.wants_gradient[v] and name not in node.op.shape_only
            )
            + tuple(name for name in node.op.params() if name in node.trains)
            for node, reads in zip(self.nodes, self.reads)
        )

    @cached_property
    def prefix(self) -> int:
        """Number of leading nodes that run without autograd and hand on one value: the frozen prefix.

        Pooling and reshaping of what is handed on belong to it; a graph in which nothing trains has none.
        """
        first = next((i for i, demanded in enumerate(self.demanded) if demanded), 0)
        while first:
            handed = {v for reads in self.reads[first:] for v in reads if 0 < v <= first}
            if handed <= {first}:
                return first
            first -= 1
        return 0

    def block_of(self, node: Node) -> Optional[int]:
        """Index of the block in which a node stands, if in any."""
        return next((self._block_numbers[s] for s in _scopes(node.name) if s in self._block_numbers), None)

    @cached_property
    def _block_numbers(self) -> Dict[str, int]:
        return {scope: k for k, scope in enumerate(self.blocks)}

    def frames(self, node: Node) -> Tuple[str, ...]:
        """Scopes of the modules that are being called while a node runs, outermost first, the network's own left out."""
        return tuple(scope for scope in _scopes(node.scope) if scope not in self.containers)

    @property
    def is_traced(self) -> bool:
        """Whether the graph comes from a module, with flags and lifetimes of its own."""
        return any(node.until for node in self.nodes)

    @property
    def has_loss(self) -> bool:
        """Whether the last node is the loss: the graph trains."""
        return self.nodes[-1].op.kind == "cross_entropy"

    @cached_property
    def segments(self) -> Tuple[Tuple[str, range], ...]:
        """The nodes in consecutive runs, for reports: stem, each block, head, classifier, loss."""
        blocks = [self.block_of(node) for node in self.nodes]
        inside = [i for i, k in enumerate(blocks) if k is not None]
        runs: list = []
        for i, (node, k) in enumerate(zip(self.nodes, blocks)):
            if k is not None:
                name = self.blocks[k]
            elif node.op.kind == "cross_entropy":
                name = "loss"
            elif self.classifier and within(node.name, self.classifier):
                name = "classifier"
            elif not inside:
                name = "body"
            else:
                name = "stem" if i < inside[0] else "head" if i > inside[-1] else "between"
            if runs and runs[-1][0] == name:
                runs[-1][1].append(i)
            else:
                runs.append((name, [i]))
        return tuple((name, range(run[0], run[-1] + 1)) for name, run in runs)

    @cached_property
    def parameters(self) -> Dict[Tuple[str, str], Tuple[Tuple[int, ...], bool]]:
        """(owner, name) -> (shape, whether it trains), each parameter once however often it is used."""
        found: Dict[Tuple[str, str], Tuple[Tuple[int, ...], bool]] = {}
        for node in self.nodes:
            for name, shape in node.op.params().items():
                trains = name in node.trains or found.get((node.owner, name), (shape, False))[1]
                found[node.owner, name] = (shape, trains)
        return {**found, **{(owner, name): (shape, False) for owner, name, shape in self.idle}}

    @cached_property
    def buffers(self) -> Dict[Tuple[str, str], Extra]:
        """(owner, name) -> what a module holds beside its parameters."""
        return {(n.owner, name): extra for n in self.nodes for name, extra in n.op.buffers().items()}


def why_not_yet(reader: str, name: str, reads: Mapping[str, Sequence[str]]) -> str:
    """Words for a value that is read before it is made: a cycle, or just nodes out of order.

    reads: the inputs of every node by its name.
    """
    todo, seen = [(name, (reader, name))], set()
    while todo:
        current, path = todo.pop()
        if current == reader:
            return f"which makes a cycle: {' <- '.join(path)}"
        if current not in seen:
            seen.add(current)
            todo += [(i, (*path, i)) for i in reads.get(current, ())]
    return "which stands after it; nodes are listed in order of execution"


@lru_cache(maxsize=2**14)  # a plan asks for those of the same nodes over and over
def _scopes(path: str) -> Tuple[str, ...]:
    """The path of every module that a path leads through, outermost first, itself last."""
    parts = path.split(".") if path else []
    return tuple(".".join(parts[: n + 1]) for n in range(len(parts)))
