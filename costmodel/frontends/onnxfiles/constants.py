"""What a file computes from constants: made where it is small, else described by its shape.

A file of 500 bytes may name a constant of 10^12 numbers, or a convolution of constants with 10^9 pixels of padding. So
an operator is run only if it is known to need no more memory and time than its inputs and outputs, and these are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from ...errors import CostmodelError
from ...sizes.size import show
from .tensors import Stored, numpy_name, onnx_type

#: Types of numbers that are computed.
NUMBERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
           "float16", "float32", "float64")  # fmt: skip
#: Most numbers of a constant that is made, and of all that are made of one file, or read for it.
MOST, MOST_OF_ALL = 2**22, 2**26
#: Most numbers that onnx's shape inference gets to see: those of shapes, pads and repeats.
SEEN = 2**12

#: Operators that numpy computes at once.
QUICK = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    Cast CastLike Ceil Clip Concat ConstantOfShape Cos Cosh CumSum DepthToSpace Div Equal Erf Exp Expand EyeLike Flatten
    Floor Gather Greater GreaterOrEqual Identity IsInf IsNaN Less LessOrEqual Log Max Mean Min Mod Mul Neg NonZero Not
    Or Pad Pow Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape Round Shape Sigmoid Sign Sin Sinh Size Slice Softmax SpaceToDepth Split Sqrt
    Squeeze Sub Sum Tan Tanh Tile Transpose Trilu Unsqueeze Where Xor
    """.split()
)
#: Operators that onnx computes in Python's loops, and the most numbers for them.
SLOW = frozenset("Compress GatherElements GatherND OneHot Resize ScatterElements ScatterND TopK Unique".split())
MOST_SLOWLY = 2**14
#: Operators that take as many steps as the sizes of their inputs multiply to, at most, and the most of them.
PRODUCTS = frozenset(("Einsum", "Gemm", "MatMul"))
MOST_STEPS = 2**26
#: Operators whose results have no more numbers than these times their inputs', though no shape is known before.
OF_NO_KNOWN_SHAPE = {"NonZero": 8, "Compress": 1, "Unique": 4}


class Described(NamedTuple):
    """What onnx's shape inference says of an output. dtype: "" if it does not say; sizes: None for each unknown one."""

    dtype: str
    sizes: tuple[int | None, ...] | None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape, None if a part of it is unknown."""
        known = self.sizes is not None and None not in self.sizes
        return tuple(size or 0 for size in self.sizes or ()) if known else None


class Constants:
    """Computes a file's constants, and counts the numbers that it has read or made."""

    def __init__(self, opsets: list[Any]) -> None:
        self.opsets, self.made = opsets, 0

    def knows(self, operator: str) -> bool:
        """Whether an operator on constants is run; others are ops of the network."""
        return operator in QUICK or operator in SLOW or operator in PRODUCTS

    def of(self, node: Any, values: Mapping[str, Stored]) -> list[Stored | None]:
        """The outputs of a node that reads nothing but constants. Raises CostmodelError if nothing is known of one."""
        names, outputs = list(filter(None, node.output)), said_of_outputs(node, self.opsets, values)
        read = sum(value.size for value in values.values())
        if any(one.dtype not in NUMBERS for one in outputs if one.dtype):
            raise CostmodelError(f"a constant of {outputs[0].dtype}s; allowed: {', '.join(NUMBERS)}")
        if any(one.shape is None for one in outputs):
            grows = OF_NO_KNOWN_SHAPE.get(node.op_type)
            if grows is None or any(not value.made for value in values.values()):
                raise CostmodelError("the size of a constant is not known before it is made")
            numbers = grows * read
        else:
            numbers = sum(prod(one.shape or ()) for one in outputs)
        most = max(numbers, read)
        small = self._quick(node.op_type, values, most) and self.made + most <= MOST_OF_ALL
        if small and all(value.made for value in values.values()):
            self.made += most
            found = {n: Stored.of(result, n, computed=True) for n, result in zip(names, run(node, self.opsets, values))}
        else:
            found = {name: described(name, one) for name, one in zip(names, outputs)}
        return [found.get(name) for name in node.output]  # a name "" is left out

    def _quick(self, operator: str, values: Mapping[str, Stored], numbers: int) -> bool:
        """Whether an operator needs little time and memory. numbers: that it reads or writes."""
        if operator in PRODUCTS and prod(max(value.size, 1) for value in values.values()) > MOST_STEPS:
            return False
        return numbers <= (MOST_SLOWLY if operator in SLOW else MOST)


def described(name: str, one: Described) -> Stored:
    """A constant that is not made: its shape is known, its numbers are not."""
    shape = one.shape or ()
    if not one.dtype:
        raise CostmodelError(f"a constant of {show(shape)} numbers has no known type")

    def load() -> np.ndarray:
        raise CostmodelError(
            f"the numbers of the constant {name!r}, {show(shape)}, are read; allowed: at most {MOST:,}"
        )

    found = Stored(name, shape, one.dtype, load, own=False, made=False)
    found.computed = True
    return found


def run(node: Any, opsets: list[Any], values: Mapping[str, Stored]) -> list[Any]:
    """What a node computes from constants."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    typed = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in values]
    outputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in node.output if name
    ]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "constants", typed, outputs), opset_imports=opsets)
    given = {name: value.load() for name, value in values.items()}
    if node.op_type in ("Div", "Mod") and all(array.dtype.kind in "iu" for array in given.values()):
        if not np.all(given[node.input[1]]):
            raise CostmodelError("a constant is divided by zero")
    with np.errstate(all="ignore"):  # log(0) is a mask's -inf
        return ReferenceEvaluator(model).run(None, given)


def said_of_outputs(node: Any, opsets: list[Any], values: Mapping[str, Stored]) -> list[Described]:
    """What is known of a node's outputs before it runs. onnx's inference would write a range out."""
    if node.op_type != "Range" or not all(value.made and value.size == 1 for value in values.values()):
        return inferred(node, opsets, values)
    first, limit, step = (values[name].load().reshape(())[()] for name in node.input)
    if not step or not all(map(np.isfinite, (first, limit, step))):
        raise CostmodelError(f"a range from {first} to {limit} in steps of {step}")
    count = ceil((float(limit) - float(first)) / float(step))
    return [Described(next(iter(values.values())).dtype, (max(count, 0),))]


def inferred(node: Any, opsets: list[Any], values: Mapping[str, Any]) -> list[Described]:
    """What onnx infers of a node's outputs. values: what it reads, by name: stored tensors, and others with a shape."""
    import onnx

    numbers, typed = [], []
    for name, value in values.items():
        if isinstance(value, Stored) and not value.own and value.made and value.size <= SEEN:
            numbers.append(onnx.numpy_helper.from_array(value.load(), name))
        else:
            kind = onnx_type(value.dtype) if isinstance(value, Stored) else onnx.TensorProto.FLOAT
            typed.append(onnx.helper.make_tensor_value_info(name, kind, value.shape))
    outputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in node.output if name
    ]
    graph = onnx.helper.make_graph([node], "one", typed, outputs, numbers)
    found = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph, opset_imports=opsets))
    return [said_of(value.type.tensor_type) for value in found.graph.output]


def said_of(kind: Any) -> Described:
    """What a TypeProto.Tensor of ONNX says of a value."""
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim)
    return Described(numpy_name(kind.elem_type), sizes if kind.HasField("shape") else None)
