"""Networks as ONNX files."""

from __future__ import annotations

from typing import Any

from ...graph.network import Network


def ways() -> list[str]:
    return ["a path to an .onnx file"]


def is_path(network: Any) -> bool:
    """Whether this is a path to an ONNX file."""
    return isinstance(network, str) and network.endswith(".onnx")


def from_path(path: str, blocks_are: str, allow_unknown: bool) -> Network:
    """The network of an ONNX file."""
    from .file import load

    return load(path, blocks_are, allow_unknown)
