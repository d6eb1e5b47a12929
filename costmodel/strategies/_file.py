"""Reads and writes a strategy as a file, which `costmodel plan` makes: a choice for each part of a network.

    network: mobilenet_v2
    choices:            # from the images up: frozen, bias, mobiletl, full, full-kept, ... (CHOICES)
      stem: frozen
      features.1: bias
      ...
      head: full
    checkpoint: [features.1]    # run again in the backward pass
    planned_for: {...}          # a note; not read

or, if a named strategy is the best plan, `strategy: NAME` in place of the choices.
"""

from __future__ import annotations

from typing import Any

from ..errors import CostmodelError, unknown
from ..files.document import Field, parse
from ..files.document import read as checked
from ..files.document import write as as_yaml
from ..files.reading import text_of
from ..graph.graph import Graph
from ._parts import CHOICES, check, checkpointed, chosen_parts, of_code, parts
from ._text import StrategyText, read_text

SCHEMA = {
    "network": Field((str,)),
    "strategy": Field((str,)),
    "choices": Field((dict,)),
    "checkpoint": Field((list,), default=()),
    "planned_for": Field((dict,)),
}


def read(path: str, graph: Graph) -> StrategyText:
    """The strategy in a file: `plan:CODE`, or a named one.

    Raises CostmodelError if the file cannot be read, names a part that the network does not have, leaves a part out, or
    gives a part a choice that it cannot have.
    """
    document = parse(text_of(path), path)
    values = checked(document, SCHEMA)
    choices, again = values["choices"], values["checkpoint"]
    if (choices is None) == (values["strategy"] is None):
        raise document.error("found both or neither of 'strategy' and 'choices'; allowed: one of them")
    if choices is None:
        return read_text(values["strategy"])
    names = [part.name for part in parts(graph)]
    letters = {choice.name: letter for letter, choice in CHOICES.items()}
    for name, choice in choices.items():
        if name not in names:
            raise choices.error(unknown("part of the network", name, names))
        if not isinstance(choice, str) or choice not in letters:
            raise choices.error(unknown("choice", choice, letters), name)
    missing = [name for name in names if name not in choices]
    if missing:
        raise choices.error(f"nothing is chosen for {', '.join(missing)}; allowed: {', '.join(letters)}")
    for name in again:
        if not isinstance(name, str) or name not in graph.blocks:
            raise document.error(unknown("block", name, graph.blocks), "checkpoint")
    chosen = {name: letters[choices[name]] for name in names}
    code = "".join(checkpointed(letter) if name in again else letter for name, letter in chosen.items())
    try:
        check(code, graph)
    except CostmodelError as error:
        raise choices.error(error) from None
    return of_code(code)


def text(network: str, strategy: str, graph: Graph, planned_for: dict[str, Any]) -> str:
    """The text of the file for a strategy. planned_for: a note of what it was planned for."""
    chosen = chosen_parts(strategy, graph)
    if chosen:
        document: dict[str, Any] = {
            "network": network,
            "choices": {name: choice for name, choice, _ in chosen},
            "checkpoint": [name for name, _, again in chosen if again],
        }
    else:
        document = {"network": network, "strategy": strategy}
    document["planned_for"] = planned_for
    return f"# A strategy: costmodel report {network} --strategy THIS_FILE\n{as_yaml(document)}\n"
