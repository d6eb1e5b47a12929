"""Bytes that a real torch run keeps, counted without the package under test; and the cases of such tests."""

from functools import cache

import pytest
import references
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy

#: Three (batch, resolution) pairs for every network: odd sizes, and a batch of one.
PAIRS = ((2, 65), (3, 97), (1, 129))
BLOCKS = {  # number of blocks of each network, counted in its reference implementation
    "mobilenet_v2": 17,
    "mobilenet_v3_small": 11,
    "mobilenet_v3_large": 15,
    "mnasnet_b1": 16,
    "efficientnet_b0": 16,
    "efficientnet_lite0": 16,
    "mobilenet_v4_conv_small": 17,
    "proxyless_mobile": 20,
    "mcunet_5fps": 14,
    "mobilenet_v2_w035": 17,
    "proxyless_w03": 20,
}
NETWORKS = tuple(BLOCKS)


def seldom(*cases):
    """Cases of a test that add little to the others, as parameters that run only with `-m slow`."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]


def strategies(name):
    """Every strategy for a network, with the lowest, the highest and one other K."""
    return ["full", "last", "norm+last", "bias", "blocks:1", "blocks:5", f"blocks:{BLOCKS[name]}", "inference"]


def rotated(names, strategies, each):
    """All pairs of network and strategy; `each` pairs of a network run by default, the others as slow cases.

    The default pairs take strategies in turn, so that many are among them. strategies: a function of a network's name.
    """
    turns = [(i + k * len(names), name) for i, name in enumerate(names) for k in range(each)]
    often = {(name, strategies(name)[turn % len(strategies(name))]) for turn, name in turns}
    pairs = [(name, strategy) for name in names for strategy in strategies(name)]
    return [pair if pair in often else seldom(pair)[0] for pair in pairs]


NETWORKS_AND_STRATEGIES = [(name, strategy) for name in NETWORKS for strategy in strategies(name)]


@cache
def _reference(name):
    return references.load_reference(name)


def configured(name, strategy):
    """The reference module of a network, set up for a strategy. One module serves all tests of the network."""
    return references.configure(_reference(name), strategy)


def saved_bytes(run, module=None):
    """Bytes of the distinct storages that autograd keeps for what `run` returns, without the module's own tensors."""
    tensors = [*module.parameters(), *module.buffers()] if isinstance(module, torch.nn.Module) else []
    own = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    kept = {}  # storages by address; while they are held, no address is used twice

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor.detach()  # without detach, the tensor would hold the graph that holds it

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    nodes, seen = [result.grad_fn], set()
    while nodes:  # hooks do not see the Python numbers that x * number and x / number keep
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [following for following, _ in node.next_functions]
            if node.name() in ("MulBackward0", "DivBackward0") and node._saved_other is not None:
                pack(node._saved_other)
    return sum(storage.nbytes() for storage in kept.values())


def saved_by_a_step(module, batch, resolution):
    """Bytes that a real step of cross-entropy keeps, without parameters and buffers."""
    images = torch.randn(batch, 3, resolution, resolution)
    targets = torch.zeros(batch, dtype=torch.int64)
    return saved_bytes(lambda: cross_entropy(module(images), targets), module)
