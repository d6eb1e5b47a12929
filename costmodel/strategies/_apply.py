"""Applies a strategy to a graph: its text is read, the graph rewritten, and the loss appended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..errors import CostmodelError, check_name, unknown
from ..graph.checkpointing import checkpointed
from ..graph.graph import LOSS, Graph, Node
from ..graph.paths import within
from ..graph.recompute import MAPS, MIXED, NOTHING, WITHIN_PARTS
from ..ops._loss import Loss
from ..ops._named_loss import USUAL_LOSS, OwnLoss
from ..ops.given import Targets
from ._attention import in_parts_where_masks_train
from ._mixing import mixes_images
from ._option_values import at_least, one_of
from ._registry import MODIFIERS, STRATEGIES, Option
from ._text import StrategyText, read_text


def apply(strategy: str | StrategyText, graph: Graph, loss: Loss | OwnLoss = USUAL_LOSS) -> Graph:
    """The graph that a strategy trains, loss included.

    strategy: text, or a parsed text; its name may be a file that `costmodel plan` wrote. loss: put after the result,
    unless the graph ends in one of its own. Raises CostmodelError for an
    unknown name or option, a K that is missing, not taken or larger than the number of blocks, or a network that lacks
    what the strategy needs.
    """
    return _apply(read(strategy, graph), graph, loss)


def read(strategy: str | StrategyText, graph: Graph) -> StrategyText:
    """A parsed strategy; if its name is a file, the strategy in that file with the options added."""
    text = read_text(strategy)
    if not text.is_file:
        return text
    from . import _file  # reads YAML, which is slow to import

    found = _file.read(text.name, graph)
    return found._replace(options=found.options + text.options, more=found.more + text.more)


@lru_cache(maxsize=512)
def _apply(text: StrategyText, graph: Graph, loss: Loss | OwnLoss) -> Graph:
    name = text.name
    if name not in STRATEGIES:
        check_modifiers(text)
    check_name("strategy", name, STRATEGIES)
    chosen = STRATEGIES[name]
    options: dict[str, Any] = {}
    if chosen.takes_blocks:
        options["blocks"] = _block_count(text, len(graph.blocks))
    elif chosen.takes_code:
        options["code"] = text.argument
    elif text.argument is not None:
        check_modifiers(text)
        raise CostmodelError(f"strategy {str(text)!r}: {name} takes no number of blocks; allowed: {name}")
    options |= options_of(text, text, {**chosen.options, **COMMON_OPTIONS})
    slices, again = options.pop("prefix_slices", 1), options.pop("checkpoint", "")
    made_again = options.pop("recompute", chosen.recompute)
    changes = [(MODIFIERS[one.name], modifier_options(text, one)) for one in text.more]
    try:
        rewritten = chosen.rewrite(graph, **options)
        for change, own in changes:
            rewritten = change.rewrite(rewritten, **own)
        rewritten = in_parts_where_masks_train(rewritten)
        rewritten = with_loss(rewritten, loss) if chosen.trains else rewritten.without_loss()
        if slices > 1 and not rewritten.prefix:
            raise CostmodelError(f"prefix_slices, but {name} leaves no frozen prefix to cut into slices")
        mixed = mixes_images(rewritten) if slices > 1 else None
        if mixed is not None:
            raise CostmodelError(
                f"prefix_slices, but {mixed.name} ({mixed.op.kind}) reads several images of a batch at once, which"
                " slices of it run apart"
            )
        rewritten = replace(rewritten, prefix_slices=slices, recompute=made_again)
        scopes = dict.fromkeys((*(rewritten.blocks if again else ()), *rewritten.checkpointed))
        return checkpointed(rewritten, scopes, bool(graph.checkpointed)) if scopes else rewritten
    except CostmodelError as error:
        raise CostmodelError(f"strategy {str(text)!r}: {error}") from None


def options_of(text: StrategyText, part: StrategyText, readers: Mapping[str, Option]) -> dict[str, Any]:
    """The options of a part of a strategy. readers: of those that it takes. Raises CostmodelError for others."""
    found: dict[str, Any] = {}
    for key, value in part.options:
        if key not in readers and value is None and read_text(key).name in STRATEGIES:
            several = "`sweep` and `costmodel compare` take several"
            raise CostmodelError(f"strategy {str(text)!r} is a list; allowed: one strategy here ({several})")
        if key not in readers:
            raise CostmodelError(f"strategy {str(text)!r}: {unknown(f'option of {part.name}', key, readers)}")
        if key in found:
            raise CostmodelError(f"strategy {str(text)!r}: {key} is given twice to {part.name}; allowed: once")
        try:
            found[key] = readers[key](value or "")
        except ValueError as error:
            raise CostmodelError(f"strategy {str(text)!r}: {key} is {value or ''!r}; allowed: {error}") from None
    return found


def modifier_options(text: StrategyText, part: StrategyText) -> dict[str, Any]:
    """The options of a form or modifier in a strategy, with what stands after its colon."""
    takes = MODIFIERS[part.name].takes
    if part.argument is not None and not takes:
        raise CostmodelError(f"strategy {str(text)!r}: found {part.name}:{part.argument}; allowed: {part.name}")
    code = {"code": part.argument} if takes else {}
    return {**code, **options_of(text, part, MODIFIERS[part.name].options)}


def check_modifiers(text: StrategyText) -> None:
    """Raise CostmodelError where what follows a + is no form or modifier."""
    own = str(text._replace(more=()))
    _, plus, rest = own.partition("+")
    if plus:
        name = re.split("[:,+]", rest, maxsplit=1)[0]
        raise CostmodelError(f"strategy {str(text)!r}: {unknown('form or modifier', name, MODIFIERS)}")


def with_loss(graph: Graph, loss: Loss | OwnLoss = USUAL_LOSS) -> Graph:
    """The graph with the loss after its result; people's own loss it has already."""
    if graph.has_loss or isinstance(loss, OwnLoss):
        return graph
    scope, result = LOSS, graph.result
    while any(within(node.name, scope) for node in graph.nodes):
        scope += "_"
    targets = Node(f"{scope}.targets", Targets(loss.of), (result,))
    own = Node(scope, loss, (result, targets.name))
    return replace(graph, nodes=(*graph.nodes, targets, own), loss=scope)


#: Options of every strategy. `checkpoint=blocks`: blocks with a backward pass run again in it. Lean only, stock modules
#: ignore them: with `prefix_slices=N` the frozen prefix runs on ceil(batch / N) images at a time. With
#: `recompute=maps`, the default, a convolution, norm and activation keep one map, from which the others are made again
#: in the backward pass; with `parts`, the default of plans, only where they are in one block; with `mixed` one wide map
#: of a block is made again, too, by its depthwise convolution or its expansion; with `none` nothing is. With all but
#: `none`, standardised weights are made again, too.
COMMON_OPTIONS: Mapping[str, Option] = {
    "prefix_slices": at_least(1),
    "checkpoint": one_of("blocks"),
    "recompute": one_of(MAPS, WITHIN_PARTS, MIXED, NOTHING),
}


def _block_count(text: StrategyText, most: int) -> int:
    k = text.argument
    check_modifiers(text)
    if most == 0:
        raise CostmodelError(f"strategy {str(text)!r}: the network has no blocks")
    if k is None or not re.fullmatch(r"[0-9]{1,9}", k) or not 1 <= int(k) <= most:
        found = "no number of blocks" if k is None else f"{k!r} blocks"
        raise CostmodelError(f"strategy {str(text)!r}: {found}; allowed: from 1 to {most}, as in {text.name}:1")
    return int(k)
