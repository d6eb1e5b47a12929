"""Tensors of an ONNX file: shapes are read at once, numbers when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ...errors import CostmodelError
from .names import MODULE


class Stored:
    """A tensor that exists before the step: one of the file, or computed from stored tensors only.

    own: whether it is a parameter: a floating-point initialiser, which training would change; else it is a constant.
    made: whether its numbers can be loaded; of a large constant that the file computes only the shape is known.
    computed: whether it is computed, not in the file; its first axis may then be the batch.
    """

    def __init__(
        self, name: str, shape: Sequence[int], dtype: str, load: Callable[[], np.ndarray], own: bool, made: bool = True
    ) -> None:
        self.name, self.shape, self.dtype, self.load, self.own = name, tuple(shape), dtype, load, own
        self.made = made
        self.computed = False

    @classmethod
    def of(cls, array: Any, name: str = "constant", computed: bool = False) -> Stored:
        """An array as a constant."""
        array = np.asarray(array)
        constant = cls(name, array.shape, array.dtype.name, lambda: array, False)
        constant.computed = computed
        return constant

    @property
    def size(self) -> int:
        return prod(self.shape)

    def called(self, name: str) -> Stored:
        """The tensor under another name: another parameter with the same initial numbers."""
        return Stored(name, self.shape, self.dtype, self.load, self.own)

    def as_float(self) -> Stored:
        """The tensor in float32."""
        load = self.load
        return Stored(self.name, self.shape, "float32", lambda: load().astype(np.float32), self.own)

    def transposed(self, axes: Sequence[int]) -> Stored:
        """The tensor with its axes permuted; its numbers are not loaded for this."""
        shape, load = [self.shape[a] for a in axes], self.load
        return Stored(self.name, shape, self.dtype, lambda: load().transpose(axes), self.own)


def as_decimal(number: Any) -> float:
    """A float32 as the decimal number that it was made from: 1e-05, not 9.99999974e-06."""
    return float(str(np.float32(number)))


def attributes_of(node: Any) -> dict[str, Any]:
    import onnx

    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def onnx_type(dtype: str) -> int:
    """ONNX's number of a data type by numpy's name."""
    import onnx

    names = {"float32": "FLOAT", "float64": "DOUBLE"}
    return onnx.TensorProto.DataType.Value(names.get(dtype, dtype.upper()))


def numpy_name(number: int) -> str:
    """Numpy's name of a data type by ONNX's number; "" for none."""
    import onnx

    name = onnx.TensorProto.DataType.Name(number).lower() if number else ""
    return {"float": "float32", "double": "float64"}.get(name, name)


def initialiser(tensor: Any, load: Callable[[Any], np.ndarray]) -> Stored:
    """An initialiser as a stored tensor. A single number without a module's name is a constant of the exporter's."""

    dtype = numpy_name(tensor.data_type)
    numbers = dtype in ("float32", "float64", "float16", "bfloat16")
    own = numbers and (prod(tensor.dims) != 1 or MODULE.fullmatch(tensor.name) is not None)
    return Stored(tensor.name, tensor.dims, dtype, lru_cache(maxsize=1)(lambda: load(tensor)), own)


def constant(node: Any) -> Stored:
    """The tensor in a Constant node. Raises CostmodelError."""
    import onnx

    for name, value in attributes_of(node).items():
        if name in ("value_float", "value_floats"):
            return Stored.of(np.array(value, np.float32), node.output[0])
        if name in ("value_int", "value_ints"):
            return Stored.of(np.array(value, np.int64), node.output[0])
        if name == "value":
            return Stored.of(onnx.numpy_helper.to_array(value), node.output[0])
    raise CostmodelError("a Constant without numbers")
