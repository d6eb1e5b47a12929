"""Reads an ONNX file as a network. Only the graph is read: the weights stay in the file until a module needs them.

Assumptions where a file is silent: A value is freed after its last reader, as a runtime frees it; nothing is in place,
and no call frame of Python holds a module's input. Norms and dropout train as in a module in training mode; the
strategy `as_is` uses the file's own modes. The tensors of a layer, and every other initialiser of more than one number,
are parameters.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from ...errors import CostmodelError
from ...files.reading import check_readable, unreadable
from ...graph.graph import Graph
from ...graph.inputs import Input, Inputs
from ...graph.network import Network
from ...ops.conv import Convolution
from ...ops.norm import BatchNorm, GroupNorm
from ...ops.norm_of_axes import LayerNorm, RmsNorm
from ..draft import RESOLUTION
from .functions import opened

OLDEST = 7  # opset; in older ones norms and broadcasting have another meaning


def load(path: str, blocks_are: str = "", allow_unknown: bool = False) -> Network:
    """The network of an ONNX file. Raises CostmodelError if this is no ONNX file, or not a network of supported ops.

    blocks_are: a path pattern, or a class name if the exporter noted classes. allow_unknown: unknown operators cost
    nothing.
    """
    model = _model(path)
    with _reading(path):
        own, fixed = _images(model, path)
    name = os.path.splitext(os.path.basename(path))[0]
    from .reader import Reader

    def numbers(tensor: Any) -> Any:
        return _numbers(tensor, path)

    @lru_cache(maxsize=8)
    def at(inputs: Inputs, single: bool = False) -> Network:
        with _reading(path, "" if inputs == own else f" (the file is made for {own[0]} images)"):
            reader = Reader(model, path, numbers, inputs[0].shape, fixed, allow_unknown)
            graph = reader.read(blocks_are)

        def weights() -> dict[str, Any]:
            return {where: tensor.load() for where, tensor in reader.weights.items()}

        return Network(name, graph, inputs, retrace=at, weights=weights, notes=without_norms(graph))

    return at(own)


def without_norms(graph: Graph) -> tuple[str, ...]:
    """A sentence if there are convolutions and no norm: exporters fold norms into convolutions unless told not to."""
    ops = [node.op for node in graph.nodes]
    convolutions = sum(isinstance(op, Convolution) for op in ops)
    if not convolutions or any(isinstance(op, (BatchNorm, GroupNorm, LayerNorm, RmsNorm)) for op in ops):
        return ()
    return (
        f"No norm follows any of {convolutions} convolutions: the exporter probably folded them into the convolutions,"
        " and the memory of training is understated. Export with torch.onnx.export(module.train(), images, path,"
        " dynamo=False, training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False).",
    )


@contextmanager
def _reading(path: str, hint: str = "") -> Iterator[None]:
    """Turn any exception into a CostmodelError: in a damaged file names may not be text, say.

    hint: is appended to the messages of CostmodelErrors.
    """
    try:
        yield
    except CostmodelError as error:
        raise CostmodelError(f"{error}{hint}") from None
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        raise CostmodelError(f"cannot read {path!r}: {reason}") from error


def _model(path: str) -> Any:
    """The model in a file, with its functions inlined and its external weights not loaded."""
    try:
        import onnx
    except ImportError as error:
        raise CostmodelError(f"{path} is read by onnx: pip install onnx ({error})") from None
    from google.protobuf.message import DecodeError

    check_readable(path, "network")
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise unreadable(path, error) from None
    except (DecodeError, ValueError) as error:
        raise CostmodelError(f"cannot read {path!r}: it is no ONNX model, or not all of one ({error})") from None
    if not model.graph.node or not model.graph.output:
        raise CostmodelError(f"cannot read {path!r}: it is no ONNX model: its graph is empty")
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if opset < OLDEST:
        raise CostmodelError(f"{path}: opset {opset}; allowed: {OLDEST} or later (onnx.version_converter)")
    with _reading(path):
        return opened(model)


def _images(model: Any, path: str) -> tuple[Inputs, int | None]:
    """The images, and the batch size if the file fixes it, else None."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    for what, values in (("inputs", inputs), ("outputs", model.graph.output)):
        if len(values) != 1:
            names = ", ".join(value.name for value in values) or "none"
            raise CostmodelError(f"{path} has {len(values)} {what} ({names}); allowed: one")
    kind = inputs[0].type.tensor_type
    sizes: list[int | None] = [d.dim_value or None for d in kind.shape.dim]
    shown = "x".join("?" if size is None else str(size) for size in sizes) or "of no known shape"
    import onnx

    if kind.elem_type != onnx.TensorProto.FLOAT:
        found = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        raise CostmodelError(f"{path}: the input is {found}; allowed: float32 (--dtype says how it trains)")
    if len(sizes) != 4 or sizes[1] is None:
        raise CostmodelError(f"{path}: the input is {shown}; allowed: images (N, channels, height, width)")
    batch, _, height, width = sizes
    if height != width and width in (1, 3):
        hint = "; channels stand last?"
        raise CostmodelError(f"{path}: the input is {shown}{hint}; allowed: images (N, channels, height, width)")
    return (Input((sizes[1], height or width or RESOLUTION, width or height or RESOLUTION)),), batch


def _numbers(tensor: Any, path: str) -> Any:
    """A tensor's numbers, from the file itself or from the file of external data beside it."""
    import onnx

    folder = os.path.dirname(os.path.abspath(path))
    beside = [entry.value for entry in tensor.external_data if entry.key == "location"]
    try:
        if tensor.data_location == onnx.TensorProto.EXTERNAL and beside:
            check_readable(os.path.join(folder, beside[-1]), "network")
        return onnx.numpy_helper.to_array(tensor, folder)
    except Exception as error:  # for missing or short files onnx raises errors of its own, OSError and ValueError
        reason = str(error).split("\n")[0]
        raise CostmodelError(f"{path}: the numbers of {tensor.name!r} cannot be read: {reason}") from None
