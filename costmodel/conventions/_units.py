"""Units: a norm, its activation, and the convolutions and products that read it, of which one map is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from ..graph.dropping import level_of
from ..graph.graph import INPUT, Graph
from ..graph.op import Op
from ..graph.recompute import NOTHING, NormKind, Terms, chain_of
from ..ops.arithmetic import Add, Mul
from ..ops.conv import Conv2d
from ..ops.lean import LeanConv2d, as_op
from ..ops.lean_standardised import LeanStandardisedConv2d
from ..ops.noise import StochasticDepth
from ..ops.norm import BatchNorm, GroupNorm
from ..ops.remade import READS_INPUT, PassedActivation, RemadeNorm, RemakingConv2d, done_by_norms
from ..ops.remade_groups import RemadeGroupNorm, RemakingConv2dOfGroups, RemakingMulOfGroups
from ..ops.remade_joins import RemakingAdd, RemakingDepth, RemakingMul
from ..ops.stand_ins import Above, Below
from ._alike import has_shape_of, is_gate
from ._dropped import to_drop
from ._kept import each_read, value_of
from ._runs import Runs

#: Of a map that is kept.
KEPT = Terms(0, 0, "", NormKind(batch=False))


def with_units(graph: Graph, plain: Graph, results: Collection[int] = ()) -> Graph:
    """The lean graph in which units keep one map.

    graph: before it is lowered. plain: as it is lowered without units: of ops that keep all that they read. results:
    the values whose gradient is the caller's.
    """
    found = _Units(graph, plain, results)
    for i in range(len(graph)):
        if level_of(graph, i) != NOTHING:
            found.try_norm(i)
            found.try_given(i)
    for i in range(len(graph)):
        if level_of(graph, i) != NOTHING:
            found.try_product(i)
            found.try_sum(i)
    for i in to_drop(graph):
        found.try_to_drop(i)
    if not found.sources:
        return plain
    nodes = tuple(replace(node, op=found.ops.get(i, node.op)) for i, node in enumerate(plain.nodes))
    names = [INPUT, *(node.name for node in nodes)]
    remade = tuple((names[v], tuple(names[source] for source in some)) for v, some in found.sources.items())
    return replace(plain, nodes=nodes, remade=remade, dropped=frozenset(nodes[i].name for i in found.dropped))


class _Units:
    """Finds units one by one.

    ops: new ops, by node. sources: content of a value that is made again -> contents of those of which it is made.
    terms: sum -> what it is made of. across: contents that the next part makes again. dropped: the convolutions whose
    output is made again.
    """

    def __init__(self, graph: Graph, plain: Graph, results: Collection[int]) -> None:
        self.graph, self.plain, self.results = graph, plain, results
        self.ops: dict[int, Op] = {}
        self.sources: dict[int, tuple[int, ...]] = {}
        self.terms: dict[int, Terms] = {}
        self.across: set[int] = set()
        self.dropped: list[int] = []
        self.runs = Runs(graph, plain)
        reads = list(each_read(plain, stock=True))
        self.readers: dict[int, list[tuple[int, str]]] = {}  # content -> (node, operand) that keeps it
        for read in reads:
            value = value_of(plain, read.node, read.operand)
            if value is not None:
                self.readers.setdefault(value, []).append((read.node, read.operand))
        self.own_bits = {read.node for read in reads if read.operand == "mask"}
        self.demanding: dict[int, list[tuple[int, str]]] = {}  # value -> (node, input) that makes a gradient of it
        self.calls = Counter(node.owner for node in plain.nodes)  # path of a module -> how often it is called
        for i, (node, values) in enumerate(zip(plain.nodes, plain.reads)):
            for name, v in zip(node.op.inputs, values):
                if name in plain.demanded[i]:
                    self.demanding.setdefault(v, []).append((i, name))

    def try_norm(self, i: int) -> None:
        """Make a unit of a norm and what reads it, if that keeps less."""
        if not self._is_unit(i):
            return
        norm, x = self.plain.nodes[i].op, self.plain.reads[i][0]
        activation = self._activation(i)
        y = i + 1 if activation is None else activation + 1
        of = "" if activation is None else done_by_norms(self.graph.nodes[activation].op)
        readers = [(n, name) for n, name in self._keeping(y) if n != activation]
        if not all(self._reads(n, name) in (i + 1, y) and self._can_remake(n, name) for n, name in readers):
            return  # a reader of a view has no recipe
        keeps_x = type(norm) in (BatchNorm, GroupNorm)
        own = activation is not None and (
            activation in self.own_bits or any(n == activation for v in (i + 1, y) for n, _ in self._keeping(v))
        )
        if not (readers or own) or not keeps_x and not (readers and own):
            return
        if not keeps_x and not READS_INPUT.get(of, False):
            return
        if self._can((i + 1, y), {i, y - 1}, [n for n, _ in readers], across=True):
            self._make(i, activation, x, y, of, readers)

    def try_given(self, i: int) -> None:
        """Make what the parts below give again, if they say of what, and if convolutions alone keep it."""
        op, made = self.plain.nodes[i].op, i + 1
        readers = self._keeping(made)
        if not isinstance(op, Below) or op.terms is None or not (readers and self._convolve(made)):
            return
        if self._can((made,), {i}, [n for n, _ in readers], across=True):
            self.terms[made], self.sources[made] = op.terms, ()
            self.across.add(made)
            for n, _ in readers:
                self._conv(n, op.terms)

    def try_product(self, i: int) -> None:
        """Make the product of a map, which is kept, and a gate again, if convolutions alone keep it."""
        op = self.plain.nodes[i].op
        if i in self.ops or type(op) is not Mul or op.inplace or not self.plain.demanded[i]:
            return
        for name, v in zip(op.inputs, self.plain.reads[i]):
            if (i, name) in self._keeping(v) and self._can_remake(i, name):
                self._product(i, name, KEPT, kept=True)
                return

    def try_sum(self, i: int) -> None:
        """Make a sum again, if convolutions alone keep it: of a norm's result, and of what is kept or made again."""
        op, reads, made = self.plain.nodes[i].op, self.plain.reads[i], i + 1
        if type(op) is not Add or not self.plain.demanded[i] or not self._keeping(made):
            return
        if not self._convolve(made):
            return
        first, second = (self._terms(v, i) for v in reads)
        if first is None or second is None or op.inplace and not first.norms:
            return
        whole, last, other = first.plus(second), reads[not first.may_be_last], reads[first.may_be_last]
        if whole is None or not has_shape_of(self.plain, last, other):
            return
        new = [n for n in whole.runs if n not in self.ops and _is_norm(self.plain.nodes[n].op)]
        readers = [n for n, _ in self._keeping(made)]
        if not self._can((made, *(n + 1 for n in new)), {i}, readers, whole.runs, across=True):
            return
        for n in new:
            self._make(n, None, self.plain.reads[n][0], n + 1, "", ())
        for n in whole.runs:
            if isinstance(self.plain.nodes[n].op, StochasticDepth):
                self._scale(n)
        self._hand_on(made, i, readers)
        self.ops[i], self.terms[made] = as_op(RemakingAdd, op), whole
        self.sources[made] = tuple(self.plain.content[v] for v in reads)
        for n in readers:
            self._conv(n, whole)

    def _scale(self, n: int) -> None:
        """Make the product of a norm's result and noise again, where there is noise."""
        op = self.plain.nodes[n].op
        if not op.result.is_view:
            self.ops[n] = as_op(RemakingDepth, op)
            self.sources[n + 1] = (self.plain.content[self.plain.reads[n][0]],)

    def _terms(self, v: int, i: int) -> Terms | None:
        """What a value that sum i reads is made of, if it can be made again or is kept in the same run; else None."""
        first, keepers = self.plain.content[v], [n for n, _ in self._keeping(v)]
        n = first - 1
        apart = not self.runs.one_part(n, i) and first not in self.across
        if first in self.terms or not first:
            return None if apart else self.terms.get(first)
        op = self.ops.get(n, self.plain.nodes[n].op)
        if isinstance(op, PassedActivation):  # its norm does its work
            n = self.plain.reads[n][0] - 1
            op = self.ops[n]
        of = op.of if isinstance(op, (RemadeNorm, RemadeGroupNorm)) else None
        is_norm = of is not None or type(op) in (BatchNorm, GroupNorm) and self._is_unit(n) and not keepers
        if is_norm and not apart:
            return Terms(1, 0, of or "", _kind_of(op), not of, frozenset({n}))
        if not apart and type(op) is StochasticDepth and op.mode == "row" and self.plain.demanded[n] and not keepers:
            of_norm = self._terms(self.plain.reads[n][0], i)
            if of_norm and of_norm.may_be_last and not of_norm.others:
                return of_norm._replace(others=1, runs=of_norm.runs | {n})
        here = [k for k in keepers if self.runs.together(k, i)]
        return KEPT._replace(runs=frozenset(here)) if here and first not in self.sources else None

    def try_to_drop(self, i: int) -> None:
        """Let go of a convolution's output, if units alone keep it, and make it again of the convolution's input."""
        v, x = i + 1, self.plain.content[self.plain.reads[i][0]]
        norms = [n for n, _ in self._keeping(v)]
        op = self.ops.get(i, self.plain.nodes[i].op)
        if not (isinstance(op, (LeanConv2d, LeanStandardisedConv2d, RemakingConv2d)) and self._can_remake(i, "x")):
            return
        if not (norms and all(isinstance(self.ops.get(n), (RemadeNorm, RemadeGroupNorm)) for n in norms)):
            return
        made_whole = {c + 1 for c in self.dropped}
        if any(v in chain_of(self.sources, given) for given in self.across):
            return
        if made_whole.isdisjoint(chain_of(self.sources, x)) and self._can((v,), {i}, norms):
            self.ops[i] = replace(op, drops=True)
            self.sources[v] = (x,)
            self.dropped.append(i)

    def _activation(self, i: int) -> int | None:
        """The node of the activation that alone reads a norm's output, if a norm can do its work."""
        readers = [n for n, reads in enumerate(self.graph.reads) if i + 1 in reads]
        if len(readers) != 1 or not self.plain.demanded[readers[0]]:
            return None
        return readers[0] if done_by_norms(self.graph.nodes[readers[0]].op) else None

    def _is_unit(self, i: int) -> bool:
        """Whether a node is a norm of a unit."""
        norm, x = self.plain.nodes[i].op, self.plain.reads[i][0]
        return bool(_is_norm(norm) and self.plain.demanded[i] and x and self._is_alone(i))

    def _reads(self, n: int, name: str) -> int:
        """The value that a node reads as an input; -1 if the name is no input's."""
        node = self.plain.nodes[n]
        return self.plain.reads[n][node.op.inputs.index(name)] if name in node.op.inputs else -1

    def _is_alone(self, i: int) -> bool:
        """Whether a node alone calls its module, which has one form."""
        return self.calls[self.plain.nodes[i].owner] == 1

    def _keeping(self, v: int) -> list[tuple[int, str]]:
        """(node, operand) of those that keep a value, or a view of it."""
        return self.readers.get(self.plain.content[v], [])

    def _can_remake(self, n: int, name: str) -> bool:
        """Whether a reader can make a map again that it now keeps."""
        op = self.plain.nodes[n].op
        if isinstance(op, Above):
            return op.makes_again
        if isinstance(op, Conv2d):
            return "weight" in self.plain.demanded[n] and self._is_alone(n)
        if type(op) is Mul and not op.inplace:
            mine = op.inputs.index(name)
            return is_gate(self.plain, self.plain.reads[n][1 - mine], self.plain.reads[n][mine])
        return False

    def _convolve(self, made: int) -> bool:
        """Whether all that keep a value are convolutions that can make it again, and make nothing else again yet."""
        return all(
            isinstance(self.plain.nodes[n].op, (Conv2d, Above))
            and n not in self.ops
            and self._reads(n, name) == made
            and self._can_remake(n, name)
            for n, name in self._keeping(made)
        )

    def _can(
        self,
        maps: Sequence[int],
        makers: Collection[int],
        readers: Collection[int],
        more: Collection[int] = (),
        across: bool = False,
    ) -> bool:
        """Whether the nodes of a unit run where readers can make the maps again (see Runs). more: further makers."""
        return self.runs.same(maps, (*makers, *readers, *more)) and self.runs.in_reach(makers, readers, across)

    def _hand_on(self, made: int, i: int, readers: Collection[int]) -> None:
        """Note that the next part makes a value again, if it does. i: a node of the value's own part."""
        if not all(self.runs.one_part(n, i) for n in readers):
            self.across.add(self.plain.content[made])

    def _make(
        self, i: int, activation: int | None, x: int, y: int, of: str, readers: Sequence[tuple[int, str]]
    ) -> None:
        """Give the nodes of a unit their forms. y: its result. of: the activation's kind."""
        norm = self.graph.nodes[i].op
        assert isinstance(norm, (BatchNorm, GroupNorm))
        terms = Terms(1, 0, of, _kind_of(norm), not of)
        gradients = self.demanding.get(y, [])
        finished = False
        for n, name in readers:
            if isinstance(self.plain.nodes[n].op, (Conv2d, Above)):
                finishes = "norm" if gradients == [(n, name)] and self._adjacent(i, n) else ""
                finished = finished or bool(finishes)
                self._conv(n, terms, finishes=finishes)
            else:
                self._product(n, name, terms)
        self._hand_on(y, i, [n for n, _ in readers])
        owns = self._owns(y, gradients)
        form = RemadeGroupNorm if terms.kind.groups else RemadeNorm
        self.ops[i] = as_op(form, norm, of=of, owns=owns, finished=finished)
        self.sources[self.plain.content[i + 1]] = (self.plain.content[x],)
        if activation is not None:
            self.ops[activation] = PassedActivation(of)

    def _conv(self, n: int, terms: Terms, **more: Any) -> None:
        """Give a convolution its form; see RemakingConv2d for the fields. terms: what its input is made of."""
        op = self.graph.nodes[n].op
        if isinstance(op, Above):
            self.ops[n] = replace(op, terms=terms._replace(runs=frozenset()))
            return
        groups = terms.kind.groups
        form, own = (RemakingConv2dOfGroups, {"norm_groups": groups}) if groups else (RemakingConv2d, {})
        how = {"of": terms.of, "batch": terms.kind.batch, "norms": terms.norms or 1, "others": terms.others}
        self.ops[n] = as_op(form, op, **own, **how, **more)

    def _product(self, n: int, name: str, terms: Terms, kept: bool = False) -> None:
        """Make the product with a gate again, too, if a convolution alone keeps it. kept: the map is kept itself."""
        op, made = self.plain.nodes[n].op, n + 1
        content = [self.plain.content[v] for v in self.plain.reads[n]]
        first = op.inputs.index(name)
        readers, gradients = self._keeping(made), self.demanding.get(made, [])
        finished = False
        can = readers and all(
            isinstance(self.plain.nodes[m].op, Conv2d)
            and self._reads(m, operand) == made
            and self._can_remake(m, operand)
            for m, operand in readers
        )
        if can and self._can((made,), {n}, [m for m, _ in readers]):
            self.sources[self.plain.content[made]] = (content[first], content[1 - first])
            for m, operand in readers:
                finishes = "gate" if gradients == [(m, operand)] and self._adjacent(n, m) else ""
                finished = finished or bool(finishes)
                self._conv(m, terms, gated=True, finishes=finishes, kept=kept)
        elif kept:
            return
        owns = self._owns(made, gradients)
        groups = terms.kind.groups
        form, own = (RemakingMulOfGroups, {"norm_groups": groups}) if groups else (RemakingMul, {})
        how = {"map": name, "of": terms.of, "batch": terms.kind.batch, "owns": owns, "finished": finished, "kept": kept}
        self.ops[n] = as_op(form, op, **own, **how)

    def _owns(self, v: int, gradients: Sequence[tuple[int, str]]) -> bool:
        """Whether the node that makes a value may overwrite its gradient. gradients: what makes that."""
        if v in self.results:
            return False
        ops = [self.plain.nodes[n].op for n, _ in gradients]
        if len(gradients) > 1 or any(isinstance(op, Above) and op.adds_up for op in ops):
            return True
        return all(op.hands_over(name) for op, (_, name) in zip(ops, gradients))

    def _adjacent(self, i: int, n: int) -> bool:
        """Whether no node between two of a part, but an activation of the first, runs backward."""
        if not self.runs.one_part(i, n):
            return False
        return all(not self.plain.demanded[k] or self.plain.reads[k] == (i + 1,) for k in range(i + 1, n))


def _is_norm(op: Op) -> bool:
    """Whether an op is a norm with scale and shift whose result can be made again, and that keeps its input for it."""
    if isinstance(op, BatchNorm):
        return op.is_plain
    return type(op) is GroupNorm and op.affine and op.bias  # a lean one keeps nothing


def _kind_of(norm: Op) -> NormKind:
    """The kind of a norm."""
    if isinstance(norm, GroupNorm):
        return NormKind(False, norm.groups)
    return NormKind(isinstance(norm, BatchNorm) and norm.statistics == "batch")
