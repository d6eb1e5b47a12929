"""Small ONNX files, built without an exporter."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
RANDOM = np.random.default_rng(0)


def tensor(name, *shape):
    return numpy_helper.from_array(RANDOM.random(shape, np.float32) + 0.1, name)


def integers(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def number(name, value):
    return numpy_helper.from_array(np.array(value, np.float32), name)


def node(operator, reads, makes, name=None, **attributes):
    """A node. reads, makes: names of its inputs and outputs, separated by blanks; "_" for one that is left out."""
    inputs, outputs = (["" if each == "_" else each for each in names.split()] for names in (reads, makes))
    return helper.make_node(operator, inputs, outputs, name=name or outputs[0], **attributes)


def model(nodes, tensors, images=("N", 3, 8, 8), opset=17, kind=FLOAT, outputs=("logits",), more=(), **rest):
    inputs = [helper.make_tensor_value_info("images", kind, images), *more]
    made = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "net", inputs, made, tensors)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("own.ops", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **rest)


STEM = [tensor("stem.weight", 8, 3, 3, 3), tensor("stem.bias", 8)]
HEAD = [tensor("fc.weight", 5, 8), tensor("fc.bias", 5)]


def around(body, tensors=(), channels=8, **rest):
    """A model: a stem with 8 channels, the nodes `body` from `x` to `y`, a mean and a linear layer with 5 classes.

    tensors: of the body. channels: of `y`.
    """
    stem = node("Conv", "images stem.weight stem.bias", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    tail = [node("GlobalAveragePool", "y", "pooled"), node("Flatten", "pooled", "flat"),
            node("Gemm", "flat fc.weight fc.bias", "logits", transB=1)]  # fmt: skip
    head = HEAD if channels == 8 else [tensor("fc.weight", 5, channels), tensor("fc.bias", 5)]
    return model([stem, *body, *tail], [*STEM, *head, *tensors], **rest)
