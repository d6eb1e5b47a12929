"""What torch.compile's partition of a training step keeps for the backward pass, beside stock and lean modules.

The bytes are printed (`-s`) and recorded as properties (`--junit-xml`). The backend partitions a step as the default
one does, and runs the graphs in eager mode, without a C++ compiler.
"""

import pytest
import torch
from references import load_reference
from torch.nn.functional import cross_entropy

import costmodel

BATCH, RESOLUTION = 8, 224
BACKEND = "aot_eager_decomp_partition"


def kept(module, images):
    """Bytes of the distinct storages that a step keeps, but for the module's own."""
    own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        cross_entropy(module(images), torch.zeros(len(images), dtype=torch.int64))
    return sum(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"])
def test_what_a_compiled_step_keeps(name, record_property):
    images = torch.randn(BATCH, 3, RESOLUTION, RESOLUTION)
    compiled = kept(torch.compile(load_reference(name).train(), backend=BACKEND), images)
    stock, lean = (
        costmodel.estimate(name, "full", BATCH, RESOLUTION, convention).saved_bytes for convention in ("torch", "lean")
    )
    for key, value in {"stock_bytes": stock, "compiled_bytes": compiled, "lean_bytes": lean}.items():
        record_property(key, value)
    print(f"\n{name}: stock {stock:,}, torch.compile {compiled:,}, lean {lean:,}")
