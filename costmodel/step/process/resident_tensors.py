"""The tensors that are there before a step, one by one, in the order in which a process makes them."""

from __future__ import annotations

from ...sizes.size import nbytes, numel
from ..optimizer import COUNT_BYTES
from ..resident import of_inputs, of_targets
from .priced import Priced


def resident_tensors(estimate: Priced) -> list[int]:
    """Bytes of each tensor: parameters, buffers, inputs, targets, gradients of earlier micro-steps, optimizer state."""
    graph, request, item = estimate.graph, estimate.request, estimate.request.dtype.bits
    parameters = [(nbytes(numel(shape), item), trains) for shape, trains in graph.parameters.values()]
    trained = [size for size, trains in parameters if trains]
    found = [size for size, _ in parameters]
    found += [nbytes(numel(buffer.shape), buffer.bits or item) for buffer in graph.buffers.values()]
    found += of_inputs(estimate.shapes[0], estimate.inputs, request)
    found += of_targets(graph, estimate.shapes, request)
    found += trained if request.accumulate > 1 else []
    found += [COUNT_BYTES] * request.optimizer.counters * len(trained)
    return [size for size in found + request.optimizer.slots * trained if size]
