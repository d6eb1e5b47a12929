"""Devices by name or by file: `specs/devices/*.yaml`, each figure with its source."""

from __future__ import annotations

import os
from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path

from ..errors import CostmodelError, unknown
from ..files.shipped import shipped_names, shipped_text
from .device import Device

__all__ = ["DEVICE_VARIABLE", "Device", "device_names", "find_device", "given_device", "split_devices", "usual_device"]

DEVICE_VARIABLE = "COSTMODEL_DEVICE"  # of the environment: the device where none is given
FOLDER = "devices"


def device_names() -> tuple[str, ...]:
    """The names of the shipped devices."""
    return shipped_names(FOLDER)


def find_device(text: str | PathLike[str]) -> Device:
    """The device of `NAME|FILE[,memory=SIZE][,PROCESSOR]`. Raises CostmodelError for anything else."""
    text = fspath(text) if isinstance(text, (str, PathLike)) else text
    if not isinstance(text, str):
        raise CostmodelError(f"device is {text!r}; allowed: a name (costmodel list devices), or a path to a .yaml file")
    name, *options = text.split(",")
    return _read(name).with_options(options)


def split_devices(text: str) -> list[str]:
    """The devices in a list joined by commas; an option belongs to the device before it."""
    found: list[str] = []
    for part in text.split(","):
        is_device = part in device_names() or part.endswith((".yaml", ".yml"))
        if is_device or not found or "=" not in part and part not in _read(found[-1].partition(",")[0]).processors:
            found.append(part)
        else:
            found[-1] += f",{part}"
    return found


def given_device(device: Device | str | PathLike[str] | None) -> Device | None:
    """The device of an argument, by default the environment's. Raises CostmodelError for a bad one."""
    if device is None:
        return usual_device()
    return device if isinstance(device, Device) else find_device(device)


def usual_device() -> Device | None:
    """The environment's device; None if it names none. Raises CostmodelError where it names one that is not there."""
    named = os.environ.get(DEVICE_VARIABLE, "")
    return find_device(named) if named else None


@lru_cache(maxsize=64)
def _shipped(name: str) -> Device:
    from .file import device_of  # reads YAML

    return device_of(shipped_text(f"{FOLDER}/{name}.yaml"), f"{name}.yaml", name)


def _read(name: str) -> Device:
    if name in device_names():
        return _shipped(name)
    if name.endswith((".yaml", ".yml")):
        from ..files.reading import text_of
        from .file import device_of

        return device_of(text_of(name), name, Path(name).stem)
    if "/" in name:
        raise CostmodelError(f"device {name!r}; allowed: a name (costmodel list devices), or a path to a .yaml file")
    raise unknown("device", name, device_names())
