"""The layer graph: immutable nodes in order of execution, each an op that reads earlier values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from ..errors import CostmodelError, unknown
from ..escapes import visible
from .cycles import why_not_yet
from .op import Extra, Op, Result
from .parameter_order import in_order
from .paths import check_path, prefixes, within
from .recompute import NOTHING, flattened

INPUT = "input"  # the name of the first input, the image batch
LOSS = "loss"  # the usual scope of the nodes of a loss


@dataclass(frozen=True)
class Node:
    """One op applied to named values. The node's name is also the name of its output.

    name: unique; the path of the modules in which the op runs, outermost first, then its own ("features.1.conv.0.0").
    owner: path of the module that holds the parameters: `name` itself, unless the op is part of a composite module
        (timm's BatchNormAct2d) or its module is called more than once; "" for the network itself.
    trains: the parameters that get a gradient.
    until: the last node during which a call frame holds the output, if a trace has recorded it; if not, lifetimes
        follow from the modules' paths.
    records: whether autograd records the op. If not, no gradient goes back through it, whatever trains (torch.no_grad,
        or an op without a gradient).
    host: name of the node for which autocast makes this one, in its call and right before it; "" for all others.
    bits: per element of the output, where autocast makes them others than the op says; else 0.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    trains: frozenset[str] = frozenset()
    owner: str = None  # type: ignore[assignment]  # None becomes the name at once
    until: str = ""
    records: bool = True
    host: str = ""
    bits: int = 0

    def __post_init__(self) -> None:
        if self.owner is None:
            object.__setattr__(self, "owner", self.name)
        if not self.op.differentiable:
            object.__setattr__(self, "records", False)

    @property
    def scope(self) -> str:
        """Path of the module whose forward runs this node; "" for the network's own."""
        return self.name.rpartition(".")[0]

    def __str__(self) -> str:
        trains = f"  trains {', '.join(sorted(self.trains))}" if self.trains else ""
        mode = "" if self.records else "  without autograd"
        return visible(f"{self.name} = {self.op}({', '.join(self.inputs)}){trains}{mode}")


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in order of execution; the output of the last one is the network's result.

    Values are numbered: 0 is the image batch, i + 1 the output of node i.
    blocks: scopes of the blocks, in order; classifier: scope of the module that the network calls its classifier.
    containers: scopes that only hold modules and are never called themselves (torch.nn.ModuleList).
    idle: (owner, name, shape) of parameters that the module holds but no node uses; they never train. idle_buffers:
        (owner, name) of such buffers, with shape and bits. registered: (owner, name) of the module's parameters as it
        lists them; empty for a network without a module, whose nodes' order is the parameters'.
    as_is: the graph with every module in its own mode, if one is not in training mode. `trains` has the module's own
        flags in both graphs.
    checkpointed: scopes that keep only their inputs, and run again in the backward pass, or parts that are no module,
        from one node to another ("first..last", graph/checkpointing.py). stateful: those that keep the state of random
        numbers even if they draw none, as torch.utils.checkpoint does unless told otherwise, also where nothing trains.
    prefix_slices: the number of slices of the batch on which the frozen prefix may run one after another.
    recompute: what may be made again in the backward pass and is not kept (graph/recompute.py); recompute_in: (scope,
        the same for this part). remade: (value, the values of which it is made again), by names: what reads that value
        keeps those. dropped: the convolutions whose output is made again whole, when it is first read.
    loss: scope of the last nodes, which compute the loss; "" if the graph does not train. outputs: names of the values
    that the network returns if there are several, first the one that a loss takes. input_bits: bits of a number of the
    first input, 0 for the network's own data type.
    Raises CostmodelError if a name is used twice, a value is read before it is made or not at all, an op has the wrong
    number of inputs, or a node trains a parameter that it does not have.
    """

    nodes: tuple[Node, ...]
    blocks: tuple[str, ...] = ()
    classifier: str = ""
    containers: frozenset[str] = frozenset()
    prefix_slices: int = 1
    recompute: str = NOTHING
    recompute_in: tuple[tuple[str, str], ...] = ()
    remade: tuple[tuple[str, tuple[str, ...]], ...] = ()
    dropped: frozenset[str] = frozenset()
    checkpointed: tuple[str, ...] = ()
    stateful: frozenset[str] = frozenset()
    as_is: Graph | None = None
    idle: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    idle_buffers: tuple[tuple[str, str, Extra], ...] = ()
    registered: tuple[tuple[str, str], ...] = ()
    loss: str = ""
    outputs: tuple[str, ...] = ()
    input_bits: int = 0

    def __post_init__(self) -> None:
        if not self.nodes:
            raise CostmodelError("the graph has no nodes")
        made = {INPUT}
        shapes: dict[tuple[str, str], tuple[int, ...]] = {}
        scopes: set[str] = set()
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
            check_path(node.name)
            made.add(node.name)
            scopes.update(prefixes(node.name))
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
        results = {self.nodes[-1].name, *self.outputs}
        unread = reads.keys() - {name for node in self.nodes for name in node.inputs} - results
        if unread:
            raise CostmodelError(f"no node reads {', '.join(map(repr, sorted(unread)))}, and it is not the result")
        beside = Counter((owner, name) for owner, name, _ in (*self.idle, *self.idle_buffers))
        for (owner, name), times in beside.items():
            if times > 1 or (owner, name) in shapes:
                raise CostmodelError(f"{owner}.{name} stands twice among what nodes hold and what none uses")
        for scope in (*self.blocks, *([self.classifier] if self.classifier else [])):
            if scope not in scopes:
                raise CostmodelError(f"no node stands in {scope!r}, which is named as a block or the classifier")

    def __str__(self) -> str:
        return "\n".join(str(node) for node in self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def map(self, change: Callable[[Node], Node]) -> Graph:
        """The graph with every node changed by a function."""
        return replace(self, nodes=tuple(change(node) for node in self.nodes))

    @cached_property
    def on_gpu(self) -> Graph:
        """The graph as it runs on a GPU."""
        return self.map(lambda node: replace(node, op=node.op.on_gpu()))

    @cached_property
    def reads(self) -> tuple[tuple[int, ...], ...]:
        """For each node, the numbers of the values it reads."""
        number = {INPUT: 0, **{node.name: i + 1 for i, node in enumerate(self.nodes)}}
        return tuple(tuple(number[name] for name in node.inputs) for node in self.nodes)

    @cached_property
    def content(self) -> tuple[int, ...]:
        """For each value, the first value with the same content: a view has its input's content."""
        content = [0]
        for node, reads in zip(self.nodes, self.reads):
            content.append(content[reads[0]] if node.op.result.is_view else len(content))
        return tuple(content)

    @cached_property
    def sources(self) -> dict[int, tuple[int, ...]]:
        """Content of a value that is made again in the backward pass -> contents of those of which it is made."""
        number = {INPUT: 0, **{node.name: i + 1 for i, node in enumerate(self.nodes)}}
        return {self.content[number[v]]: tuple(self.content[number[s]] for s in some) for v, some in self.remade}

    @cached_property
    def roots(self) -> dict[int, tuple[int, ...]]:
        """Content of a value that is made again in the backward pass -> contents of those that are kept for it."""
        return flattened(self.sources)

    @cached_property
    def resident(self) -> frozenset[int]:
        """The values that are parameters or buffers of the network, or views of them."""
        own = {i + 1 for i, node in enumerate(self.nodes) if node.op.result is Result.RESIDENT}
        return frozenset(v for v, first in enumerate(self.content) if first in own) if own else frozenset()

    @cached_property
    def bits(self) -> tuple[int, ...]:
        """For each value, bits per element; 0 stands for the network's own data type."""
        own = (self.input_bits, *(node.bits or node.op.bits for node in self.nodes))
        return tuple(own[first] for first in self.content)

    @cached_property
    def kernel_bits(self) -> tuple[int, ...]:
        """For each node, bits of the numbers that its kernels work on; 0 stands for the network's own data type."""
        made = zip(self.nodes, self.reads, self.bits[1:])
        return tuple(self.bits[reads[0]] if node.op.bits else bits for node, reads, bits in made)

    @cached_property
    def narrow(self) -> tuple[tuple[str, ...], ...]:
        """For each node, its inputs of 16 bits beside others in the network's own data type (`Op.promotes`)."""
        found = []
        for node, reads, bits in zip(self.nodes, self.reads, self.kernel_bits):
            mixed = node.op.promotes and not bits and any(self.nodes[v - 1].bits for v in reads if v)
            named = zip(node.op.inputs, reads) if mixed else ()
            found.append(tuple(name for name, v in named if v and self.nodes[v - 1].bits))
        return tuple(found)

    @cached_property
    def hosts(self) -> tuple[int, ...]:
        """For each node, the number of the node for which autocast makes it, or its own."""
        found = list(range(len(self.nodes)))
        for i in range(len(self.nodes) - 1, -1, -1):
            if self.nodes[i].host:
                found[i] = found[i + 1]
        return tuple(found)

    @property
    def calls(self) -> list[range]:
        """The nodes of each call: a node after those that autocast makes for it."""
        ends = sorted({host + 1 for host in self.hosts})
        return [range(start, end) for start, end in zip([0, *ends], ends)]

    @cached_property
    def wants_gradient(self) -> tuple[bool, ...]:
        """For each value, whether its gradient is computed: it depends on a parameter that trains."""
        wants = [False]
        for node, reads in zip(self.nodes, self.reads):
            passed = (v for name, v in zip(node.op.inputs, reads) if name not in node.op.shape_only)
            wants.append(node.records and (bool(node.trains) or any(wants[v] for v in passed)))
        return tuple(wants)

    @cached_property
    def gets_gradient(self) -> tuple[bool, ...]:
        """For each value, whether a gradient of the result arrives at it, if it wants one."""
        gets = [False] * len(self.nodes) + [True]
        for i in range(len(self.nodes) - 1, -1, -1):
            op = self.nodes[i].op
            if gets[i + 1] and self.nodes[i].records:
                for name, v in zip(op.inputs, self.reads[i]):
                    gets[v] |= name not in op.shape_only
        return tuple(gets)

    @cached_property
    def demanded(self) -> tuple[tuple[str, ...], ...]:
        """For each node, the gradients that its backward computes: names of inputs and parameters."""
        return tuple(gradients if arrives else () for gradients, arrives in zip(self.recorded, self.gets_gradient[1:]))

    @cached_property
    def abandoned(self) -> tuple[tuple[str, ...], ...]:
        """For each node that autograd records in vain, since no gradient ever arrives, its gradients; else none."""
        return tuple(() if arrives else gradients for gradients, arrives in zip(self.recorded, self.gets_gradient[1:]))

    @cached_property
    def recorded(self) -> tuple[tuple[str, ...], ...]:
        """For each node, the gradients that its backward would compute if a gradient arrived there."""
        return tuple(
            ()
            if not node.records
            else tuple(
                name
                for name, v in zip(node.op.inputs, reads)
                if self.wants_gradient[v] and name not in node.op.shape_only
            )
            + tuple(name for name in node.op.params() if name in node.trains)
            for node, reads in zip(self.nodes, self.reads)
        )

    @cached_property
    def prefix(self) -> int:
        """Length of the frozen prefix: leading nodes that run without autograd and pass on a single value.

        Pooling and reshaping of that value belong to the prefix. It is 0 if nothing trains.
        """
        first = next((i for i, demanded in enumerate(self.demanded) if demanded), 0)
        while first:
            handed = {v for reads in self.reads[first:] for v in reads if 0 < v <= first}
            if handed <= {first}:
                return first
            first -= 1
        return 0

    def block_of(self, node: Node) -> int | None:
        """Index of the block that contains a node; None outside the blocks."""
        return next((self._block_numbers[s] for s in prefixes(node.name) if s in self._block_numbers), None)

    @cached_property
    def _block_numbers(self) -> dict[str, int]:
        return {scope: k for k, scope in enumerate(self.blocks)}

    def frames(self, node: Node) -> tuple[str, ...]:
        """Scopes of the modules that are being called while a node runs, outermost first, without the root."""
        return tuple(scope for scope in prefixes(node.scope) if scope not in self.containers)

    @property
    def is_traced(self) -> bool:
        """Whether the graph comes from a module, with flags and lifetimes of its own."""
        return any(node.until for node in self.nodes)

    @property
    def has_loss(self) -> bool:
        """Whether the last nodes compute a loss, which means that the graph trains."""
        return bool(self.loss)

    @property
    def result(self) -> str:
        """The name of the value that a loss takes."""
        return self.outputs[0] if self.outputs else self.nodes[-1].name

    @cached_property
    def body(self) -> tuple[Node, ...]:
        """The nodes of the network itself, without the loss."""
        return tuple(node for node in self.nodes if not (self.loss and within(node.name, self.loss)))

    @property
    def returns_several(self) -> bool:
        """Whether the network returns more than its last value."""
        return bool(self.outputs) and self.outputs != (self.without_loss().nodes[-1].name,)

    def without_loss(self) -> Graph:
        """The graph of the network itself, whose results are then the caller's."""
        if not self.loss:
            return self
        wanted = {*self.outputs}
        for node in reversed(self.body):
            if node.name in wanted or not self.outputs:
                wanted.update((node.name, *node.inputs))
        return replace(self, nodes=tuple(node for node in self.body if node.name in wanted), loss="")

    @cached_property
    def parts(self) -> tuple[tuple[str, range], ...]:
        """(name, range of nodes) of the graph's parts: stem, each block, head, classifier, loss; consecutive runs."""
        hosts = [self.nodes[i] for i in self.hosts]
        blocks = [self.block_of(node) for node in hosts]
        inside = [i for i, k in enumerate(blocks) if k is not None]
        runs: list[tuple[str, list[int]]] = []
        for i, (node, k) in enumerate(zip(hosts, blocks)):
            if k is not None:
                name = self.blocks[k]
            elif self.loss and within(node.name, self.loss):
                name = self.loss
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
    def parameters(self) -> dict[tuple[str, str], tuple[tuple[int, ...], bool]]:
        """(owner, name) -> (shape, whether it gets a gradient), each parameter once, as the module lists them."""
        found: dict[tuple[str, str], tuple[tuple[int, ...], bool]] = {}
        for node, demanded in zip(self.nodes, self.demanded):
            for name, shape in node.op.params().items():
                trains = name in demanded or found.get((node.owner, name), (shape, False))[1]
                found[node.owner, name] = (shape, trains)
        ordered = {key: found[key] for key in in_order(found, self.registered)}
        return {**ordered, **{(owner, name): (shape, False) for owner, name, shape in self.idle}}

    @cached_property
    def flagged(self) -> frozenset[tuple[str, str]]:
        """(owner, name) of the parameters that are to train; those behind a stopped gradient do not, for all that."""
        return frozenset((node.owner, name) for node in self.nodes for name in node.trains)

    def count_parameters(self, trained: bool = False) -> int:
        """Number of parameters. trained: only of those that train."""
        return sum(prod(shape) for shape, trains in self.parameters.values() if trains or not trained)

    @cached_property
    def buffers(self) -> dict[tuple[str, str], Extra]:
        """(owner, name) -> shape and bits of a buffer."""
        found = {(n.owner, name): extra for n in self.nodes for name, extra in n.op.buffers().items()}
        return {**found, **{(owner, name): extra for owner, name, extra in self.idle_buffers}}
