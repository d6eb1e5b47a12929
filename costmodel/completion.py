"""What a shell offers when somebody presses Tab: names of networks, layers, strategies and more.

An offer takes what is written so far of a value, the command's arguments so far, which may be a network, and whether
several values may be joined by commas; it gives what the value may become. No network is built for it: libraries and
files are read as text, and only specs are loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

Offer = Callable[[str, Sequence[str], bool], list[str]]

#: Endings of files that may be networks.
FILES = (".yaml", ".yml", ".onnx", ".py")
LIBRARIES = ("timm", "torchvision")


def completing(offer: Offer) -> Callable[..., list[str]]:
    """An offer as click calls it."""

    def shell_complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            offers = offer(incomplete, _arguments(context), parameter.multiple)
        except Exception:  # there is nobody to tell
            return []
        return [one for one in offers if one.startswith(incomplete)]

    return shell_complete


def names(find: Callable[[], Iterable[str]]) -> Offer:
    """The offer of some names, also behind other values and a comma."""

    def offer(start: str, given: Sequence[str], several: bool) -> list[str]:
        before, comma, _ = start.rpartition(",") if several else ("", "", "")
        return [f"{before}{comma}{name}" for name in find()]

    return offer


def networks(start: str, given: Sequence[str], several: bool) -> list[str]:
    """Shipped networks, files, and behind a library's or a file's name the networks in it."""
    from .files.shipped import shipped_names
    from .frontends.modules.catalogue import library_names, names_in_file

    home, colon, _ = start.partition(":")
    if colon:
        names = library_names(home) if home in LIBRARIES else names_in_file(home) if home.endswith(".py") else []
        return [f"{home}:{name}" for name in names]
    # With all its names, so that the shell adds no space after the colon.
    within = [f"{one}:{name}" for one in LIBRARIES if start and one.startswith(start) for name in library_names(one)]
    return [*shipped_names("networks"), *(within or [f"{one}:" for one in LIBRARIES]), *files(start)]


def files(start: str) -> list[str]:
    """Files that may be networks, and folders; of a single folder what is in it, so that no space follows its name."""
    folder, slash, name = start.rpartition("/")
    found = []
    with os.scandir(folder + slash or ".") as entries:
        for entry in entries:
            if entry.name.startswith(name) and not entry.name.startswith("."):
                if entry.is_dir():
                    found.append(f"{folder}{slash}{entry.name}/")
                elif entry.name.endswith(FILES):
                    found.append(f"{folder}{slash}{entry.name}")
    if len(found) == 1 and found[0] != start and found[0].endswith("/"):
        return files(found[0]) or found
    return sorted(found)


def layers(start: str, given: Sequence[str], several: bool) -> list[str]:
    """Parts and layers of the network that is given, if it is a spec."""
    graph = _spec(given).graph
    return list(dict.fromkeys([*(name for name, _ in graph.parts), *(node.name for node in graph.nodes)]))


def strategies(start: str, given: Sequence[str], several: bool) -> list[str]:
    """Strategies, those that take K with the numbers of blocks of a spec; options behind a comma, forms behind a +."""
    from .strategies import MODIFIERS, STRATEGIES
    from .strategies._apply import COMMON_OPTIONS
    from .strategies._text import read_text, split_list

    before, comma, last = start.rpartition(",")
    found: list[str] = []
    base, plus, _ = last.rpartition("+")
    if plus:
        found += [f"{base}+{name}" + (":" if one.takes else "") for name, one in MODIFIERS.items()]
    if comma:
        own = read_text(split_list(before)[-1])
        of_base = {**STRATEGIES[own.name].options, **COMMON_OPTIONS}
        found += [f"{option}=" for option in (MODIFIERS[own.more[-1].name].options if own.more else of_base)]
    if several or not comma:
        name, colon, _ = last.partition(":")
        if colon:
            found += [f"{name}:{k + 1}" for k in range(len(_spec(given).graph.blocks))]
        else:
            found += [s.name + (":" if s.takes_blocks else "") for s in STRATEGIES.values() if not s.takes_code]
    return [f"{before}{comma}{one}" for one in found]


def devices() -> Iterable[str]:
    """Names of the shipped devices."""
    from .devices import device_names

    return device_names()


def conventions() -> Iterable[str]:
    """Names of the conventions."""
    from .conventions import CONVENTIONS

    return CONVENTIONS


def optimizers(start: str, given: Sequence[str], several: bool) -> list[str]:
    """Optimizers; and behind an optimizer and a comma its options."""
    from .step.optimizer import OPTIMIZERS, split_list

    before, comma, _ = start.rpartition(",")
    last = OPTIMIZERS.get(split_list(before)[-1])  # None behind an option
    found = [*(last.options if last else ()), *(OPTIMIZERS if several or not comma else ())]
    return [f"{before}{comma}{one}" for one in found]


def dtypes() -> Iterable[str]:
    """Names of the data types."""
    from .sizes.dtype import DTYPE_ALIASES, DTYPES

    return (*DTYPES, *DTYPE_ALIASES)


def losses() -> Iterable[str]:
    """Names of the losses."""
    from .ops._named_loss import LOSSES

    return LOSSES


def amps() -> Iterable[str]:
    """Names of torch.autocast's data types."""
    from .sizes.dtype import AMP, NO_AMP

    return (*AMP, NO_AMP)


def targets(start: str, given: Sequence[str], several: bool) -> list[str]:
    """Devices, and behind a device and a comma its options."""
    from .targets import DEVICES

    before, comma, _ = start.rpartition(",")
    if not comma:
        return list(DEVICES)
    name, *taken = before.split(",")
    options = {key: option.allowed for key, option in DEVICES[name].options.items()}
    free = [key for key in options if key not in [one.partition("=")[0] for one in taken]]
    return [f"{before},{key}" + ("" if options[key] == key else "=") for key in free]  # a flag is all that is allowed


def _arguments(context: click.Context) -> list[str]:
    """The arguments so far. Behind an option that still lacks its value, click has not yet given them to parameters."""
    found: list[Any] = []
    for parameter in context.command.params:
        if isinstance(parameter, click.Argument):
            value = context.params.get(parameter.name or "")
            found += value if isinstance(value, tuple) else [value]
    return [one for one in (*found, *context.args) if isinstance(one, str)]


def _spec(given: Sequence[str]) -> Any:
    """The network of a command line so far. Raises StopIteration if none is a spec: to load others takes too long."""
    from .frontends import load, spec

    return load(next(one for one in given if spec.is_shipped(one) or one.endswith((".yaml", ".yml"))))


#: What click calls for an argument or an option, by its name.
COMPLETE = {
    "network": completing(networks),
    "layer": completing(layers),
    "strategy": completing(strategies),
    "convention": completing(names(conventions)),
    "optimizer": completing(optimizers),
    "dtype": completing(names(dtypes)),
    "amp": completing(names(amps)),
    "loss": completing(names(losses)),
    "target": completing(targets),
    "device": completing(names(devices)),
}
