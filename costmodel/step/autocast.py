"""Mixed precision: a graph as it runs where torch.autocast surrounds its forward pass and its loss.

What torch 2.13 does on a CPU, all measured (aten/src/ATen/autocast_mode.{h,cpp}):
- Convolutions, matrix products and the like take casts of their inputs and parameters, losses take float32, and cat the
  widest type of its inputs. All else takes inputs as they come. Each op says which it is (Op.casts).
- A cast is an autograd node: what it makes is saved in place of what it was made of, and the gradient is cast back into
  a new tensor. A layer's arguments are cast from the last to the first.
- The cast of a parameter that trains is made once and held until the region ends, after the loss. Others are made in
  each call and held until the call returns.
- A block that runs again in the backward pass does so in a region of its own, which makes its casts anew.
- The backward pass runs outside autocast: every gradient has the data type of its value.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from ..errors import CostmodelError
from ..graph.checkpointing import SPAN, nodes_in
from ..graph.graph import INPUT, Graph, Node
from ..graph.op import Casts, Op
from ..graph.recompute import NOTHING
from ..ops._cast import Cast, Given
from ..ops.arithmetic import AddNumber, Div, Sub
from ..ops.conv import EPS, Conv2d
from ..ops.lean import CastingConv2d, LeanConv2d, as_op
from ..ops.parameter import Constant, Parameter
from ..ops.reduce import Deviation, Mean
from ..ops.remade import RemakingConv2d
from ..sizes.dtype import DType, find_amp
from ..sizes.size import Shape
from ..targets.target import Target

FULL = DType("float32", 32)
STANDARDISED = "standardised"


def amp_of(amp: object, dtype: DType, convention: str, target: Target) -> DType | None:
    """The data type of autocast that is asked for; None for none.

    Raises CostmodelError for an unknown one, and where what autocast does is not modelled.
    """
    found = find_amp(amp)
    if found is None:
        return None
    if dtype != FULL:
        raise CostmodelError(f"amp {found.name} with dtype {dtype.name}; allowed: float32, which autocast casts from")
    if convention not in ("torch", "lean"):
        raise CostmodelError(
            f"amp {found.name} with convention {convention!r}; allowed: torch, lean: others count one data type"
        )
    if target.device == "cuda":
        raise CostmodelError(f"amp {found.name} on target 'cuda'; allowed: cpu, none: autocast casts other ops on CUDA")
    return found


class Undescribed(CostmodelError):
    """What a network does under autocast is more than its layer graph describes."""


@lru_cache(maxsize=512)
def autocast(graph: Graph, amp: DType) -> Graph:
    """The graph under torch.autocast, with the casts as nodes of their own. Raises Undescribed."""
    return _Autocast(graph, amp).run()


class _Autocast:
    """Writes a graph anew, node by node.

    bits: of each value, 0 for one that is no number with a fraction. trained: name of a value -> the parameter that it
    is, if that trains. cached: parameter -> the name of its cast, and the scope that runs again in which it is made.
    again: node -> the scope that runs again in which it stands. shapes: of values that do not depend on the images.
    sources: node whose output is made again whole -> its input as it is cast.
    """

    def __init__(self, graph: Graph, amp: DType) -> None:
        self.graph, self.amp = graph, amp
        self.nodes: list[Node] = []
        self.names = {node.name for node in graph.nodes}
        self.bits = {INPUT: graph.input_bits or FULL.bits}
        self.trained: dict[str, tuple[str, str]] = {}
        self.cached: dict[tuple[str, str], tuple[str, str | None]] = {}
        scopes = {scope: nodes_in(graph, scope) for scope in graph.checkpointed}
        self.again = {graph.nodes[i].name: scope for scope, inside in scopes.items() for i in inside}
        self.shapes: dict[str, Shape] = {}
        self.idle: list[tuple[str, str, tuple[int, ...]]] = []
        self.sources: dict[str, tuple[str, ...]] = {}

    def run(self) -> Graph:
        """The whole graph."""
        first: dict[str, str] = {}  # node -> the first of those that are made for it
        for node in self.graph.nodes:
            start = len(self.nodes)
            self._append(self._cast_for(node))
            first[node.name] = self.nodes[start].name
        again = tuple(
            SPAN.join((first[head], tail)) if tail else head
            for head, _, tail in (scope.partition(SPAN) for scope in self.graph.checkpointed)
        )
        renamed = dict(zip(self.graph.checkpointed, again))
        stateful = frozenset(renamed.get(scope, scope) for scope in self.graph.stateful)
        idle = (*self.graph.idle, *self.idle)
        remade = tuple((v, self.sources.get(v, some)) for v, some in self.graph.remade)
        graph = replace(self.graph, nodes=tuple(self.nodes), checkpointed=again, stateful=stateful)
        return replace(graph, idle=idle, remade=remade)

    def _append(self, node: Node) -> str:
        """Append a node, with the data type of its output. Returns its name."""
        op = node.op
        lower = op.casts in (Casts.LOWER, Casts.INSIDE)
        own = op.bits or (self.amp.bits if lower else self._widest(node))
        if op.result.is_view or getattr(op, "inplace", False):
            own = self.bits[node.inputs[0]]
        self.bits[node.name] = own
        ours = own if own == self.amp.bits and not op.bits else 0
        self.nodes.append(replace(node, bits=ours))
        self._note_shape(node)
        if isinstance(op, Parameter) and (node.owner, op.parameter) in self.graph.flagged:
            self.trained[node.name] = node.owner, op.parameter
        return node.name

    def _note_shape(self, node: Node) -> None:
        """Note the shape of what does not depend on the images."""
        if isinstance(node.op, (Parameter, Constant)):
            if 0 not in node.op.size:  # which stands for the batch
                self.shapes[node.name] = tuple(node.op.size)
        elif all(name in self.shapes for name in node.inputs):
            self.shapes[node.name] = node.op.shape(*[self.shapes[name] for name in node.inputs])

    def _fractions(self, node: Node) -> list[tuple[int, str]]:
        """(place, name) of the inputs that autocast may cast, and that decide the output's data type."""
        named = enumerate(zip(node.op.inputs, node.inputs))
        possible = (FULL.bits, self.amp.bits)
        return [(k, name) for k, (to, name) in named if to not in node.op.shape_only and self.bits[name] in possible]

    def _widest(self, node: Node) -> int:
        return max((self.bits[name] for _, name in self._fractions(node)), default=FULL.bits)

    def _cast_for(self, node: Node) -> Node:
        """The node with casts of its inputs and parameters, which are appended."""
        policy = node.op.casts
        if policy is Casts.INSIDE:
            return self._casting_parameters(node)
        if policy is Casts.LOWER:
            node = self._with_given(node)
            return self._casting(node, self.amp, backwards=True)
        if policy is Casts.FULL:
            return self._casting(node, FULL, backwards=True)
        widest = FULL if self._widest(node) == FULL.bits else self.amp
        if policy is Casts.WIDEST:
            return self._casting(node, widest, backwards=False)
        if not self._is_regular(node):
            raise Undescribed(
                f"node {node.name!r}: under autocast {node.op.kind} takes inputs in {FULL.name} and in {self.amp.name},"
                " which the layer graph does not describe"
            )
        return node

    def _casting_parameters(self, node: Node) -> Node:
        """A lean layer that casts its parameters itself. What is made again is not cast."""
        op = node.op
        if isinstance(op, RemakingConv2d) and self.bits[node.inputs[0]] != self.amp.bits:
            raise Undescribed(
                f"node {node.name!r}: under autocast its input is cast, which lean modules then keep; allowed:"
                f" recompute={NOTHING}, or convention torch"
            )
        if type(op) is LeanConv2d and "weight" in node.trains:
            node = replace(node, op=as_op(CastingConv2d, op))
        cast = self._casting(node, self.amp, backwards=True)
        if node.name in self.graph.dropped:
            self.sources[node.name] = cast.inputs[:1]
        return cast

    def _is_regular(self, node: Node) -> bool:
        """Whether the data type of what an op makes of its inputs is known."""
        op, types = node.op, {self.bits[name] for _, name in self._fractions(node)}
        if len(types) > 1:  # a number without axes does not widen a tensor
            return op.promotes and not any(self.shapes.get(name) == () for name in node.inputs)
        return op.mixes or types == {FULL.bits} or not op.params()

    def _casting(self, node: Node, to: DType, backwards: bool) -> Node:
        """The node with its inputs cast. backwards: from the last input to the first."""
        inputs = list(node.inputs)
        places = self._fractions(node)
        for k, name in reversed(places) if backwards else places:
            inputs[k] = self._cast(node, node.op.inputs[k], name, to)
        return replace(node, inputs=tuple(inputs))

    def _cast(self, node: Node, operand: str, value: str, to: DType) -> str:
        """The name of a value's cast for an operand of a node; of the value itself if it needs none."""
        if self.bits[value] == to.bits:
            return value
        parameter = self.trained.get(value) if to == self.amp else None
        if parameter is not None and parameter in self.cached:
            return self._cached(parameter, node)
        cast = self._insert(node, f"{operand}.{to.name}", Cast(to.name), value)
        if parameter is not None:  # a cast that is cached is recorded by autograd even under torch.no_grad
            self.cached[parameter] = cast, self.again.get(node.name)
            self.nodes[-1] = replace(self.nodes[-1], until=self.graph.nodes[-1].name, records=True)
        return cast

    def _cached(self, parameter: tuple[str, str], node: Node) -> str:
        """The name of a parameter's cast that an earlier node has made."""
        cast, scope = self.cached[parameter]
        if scope != self.again.get(node.name):
            raise Undescribed(
                f"node {node.name!r}: autocast casts {'.'.join(parameter)} once for what runs once and again for what"
                " runs again, which the layer graph does not describe"
            )
        return cast

    def _insert(
        self, node: Node, end: str, op: Op, *inputs: str, trains: frozenset[str] = frozenset(), until: str = ""
    ) -> str:
        """Append a node that is made for another one. end: of its name. Returns its name."""
        name = f"{node.name}.{end}"
        while name in self.names:
            name += "_"
        self.names.add(name)
        return self._append(Node(name, op, inputs, trains, node.owner, until, node.records, node.name))

    def _with_given(self, node: Node) -> Node:
        """A layer whose parameters are inputs: values that are made for it."""
        op = node.op
        if not op.params():
            return node
        given = {name: self._parameter(node, name, shape) for name, shape in op.params().items()}
        if isinstance(op, Conv2d) and op.standardise:
            op = replace(op, standardise=False, fixed=False)
        return replace(node, op=Given(op), inputs=(*node.inputs, *given.values()), trains=frozenset())

    def _parameter(self, node: Node, name: str, shape: tuple[int, ...]) -> str:
        """The value of a layer's parameter, standardised if the layer takes it so."""
        op = node.op
        standardise = isinstance(op, Conv2d) and op.standardise and name == "weight"
        if standardise and not op.has_epilogue:
            self.idle.append((node.owner, name, shape))
            return self._insert(node, STANDARDISED, Constant(shape, buffer=STANDARDISED), INPUT)
        if (node.owner, name) in self.cached and not standardise:
            return self._cached((node.owner, name), node)
        value = self._insert(node, name, Parameter(name, shape), INPUT, trains=node.trains & {name})
        if name in node.trains and not standardise:
            self.nodes[-1] = replace(self.nodes[-1], records=True)
        return self._standardised(node, value) if standardise else value

    def _standardised(self, node: Node, weight: str) -> str:
        """A convolution's weight, standardised in each call, in float32 (pytorch/modules.py: standardised)."""
        axes = (1, 2, 3)
        mean = self._step(node, "mean", Mean(axes, keepdim=True), weight)
        centred = self._step(node, "centred", Sub(), weight, mean)
        std = self._step(node, "std", Deviation(axes, keepdim=True), centred)
        divisor = self._step(node, "divisor", AddNumber(EPS), std)
        return self._insert(node, STANDARDISED, Div(), centred, divisor, until=node.name)

    def _step(self, node: Node, end: str, op: Op, *inputs: str) -> str:
        """Insert a step of the standardisation, whose result is freed after its last reader."""
        name = self._insert(node, end, op, *inputs)
        self.nodes[-1] = replace(self.nodes[-1], until=name)
        return name
