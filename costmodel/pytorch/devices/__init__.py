"""Where steps run: a file for each device."""

from __future__ import annotations

from ...errors import CostmodelError
from ...targets import Target
from .device import Blocks, Device, Levels, Most
from .gpu import Gpu
from .processor import Processor

__all__ = ["DEVICES", "Blocks", "Device", "Levels", "Most", "device_of"]

#: The devices on which a step can run, by the names that targets have for them.
DEVICES: dict[str, Device] = {device.kind: device for device in (Processor(), Gpu())}


def device_of(target: Target) -> Device:
    """The device of a target. Raises CostmodelError if no step runs there, or if there is none here."""
    if target.device not in DEVICES:
        raise CostmodelError(f"target {target.device!r} counts and is nowhere to run; allowed: {', '.join(DEVICES)}")
    DEVICES[target.device].refuse_if_absent()
    return DEVICES[target.device]
