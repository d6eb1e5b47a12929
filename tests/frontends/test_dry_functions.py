"""Functions of torch on tensors without data: what kernels make is what the CPU's make, and so are whole steps."""

import pytest
import torch
from functionals import ALIKE, BATCH, SIDE, UNLIKE, WIDTH, Wide
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from costmodel.frontends.modules.dry.calls import call_of
from costmodel.frontends.modules.dry.flops import is_composed
from costmodel.frontends.modules.dry.on_the_cpu import on_the_cpu
from costmodel.frontends.modules.dry.step import dry_step
from costmodel.graph.dry import KernelCall, Setting
from costmodel.graph.inputs import images
from costmodel.pytorch import measure

FUNCTIONS = {**UNLIKE, **ALIKE}
NAMES = [*UNLIKE, *(pytest.param(name, marks=pytest.mark.slow) for name in ALIKE)]
LAST = torch.channels_last
#: Ways in which a map may lie in memory.
LIES = {
    "as made": lambda x: x,
    "transposed": lambda x: x.transpose(2, 3),
    "channels_last": lambda x: x.contiguous(memory_format=LAST),
    "expanded": lambda x: x.mean((2, 3), keepdim=True).expand(x.shape),
    "every second channel": lambda x: torch.cat([x, x], 1)[:, ::2],
}


@pytest.mark.filterwarnings("ignore:index_reduce")  # in beta
@pytest.mark.parametrize("name", NAMES)
def test_a_function_at_the_peak(name):
    torch.manual_seed(0)
    module = Wide(FUNCTIONS[name])
    dry = dry_step(module, images(SIDE), BATCH, Setting(None, None, True))
    real = measure(module, BATCH, SIDE)
    assert dry.levels == (real.saved_bytes, real.tensor_peak_bytes, real.left_bytes)
    assert (dry.flops["forward"], dry.flops["backward"]) == (real.forward_flops, real.backward_flops)
    assert dry.unseen_bytes == 0


class Beside(TorchDispatchMode):
    """Runs each op on tensors without data too, and compares what the results look like."""

    def __init__(self):
        super().__init__()
        self.differ = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if is_composed(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        mode = FakeTensorMode(allow_non_fake_inputs=True)
        bare = tree_map_only(torch.Tensor, lambda x: mode.from_tensor(x.detach()), (args, kwargs or {}))
        real = func(*args, **(kwargs or {}))
        if any(isinstance(x, torch.Tensor) for x in tree_leaves(real)):
            with mode:
                found = on_the_cpu(func, *bare)
            looks = [[looked(x, args) for x in tree_leaves(real)], [looked(x, bare[0]) for x in tree_leaves(found)]]
            if looks[0] != looks[1]:
                self.differ.append((func, *looks))
        return real


def looked(x, args):
    """Shape, data type, strides and, unless it is one of an operand's, the bytes of the storage of a result."""
    if not isinstance(x, torch.Tensor) or not x.numel():
        return None
    given = [one.untyped_storage()._cdata for one in tree_leaves(args) if isinstance(one, torch.Tensor)]
    storage = x.untyped_storage()
    strides = tuple(stride for stride, size in zip(x.stride(), x.shape) if size > 1)
    return tuple(x.shape), x.dtype, strides, None if storage._cdata in given else storage.nbytes()


@pytest.mark.one_in(4)
@pytest.mark.filterwarnings("ignore:index_reduce")
@pytest.mark.parametrize("lies", LIES)
@pytest.mark.parametrize("name", NAMES)
def test_results_look_like_the_cpus(name, lies):
    if "scatter" in name and lies == "every second channel":
        pytest.skip("a view without data stands on a smaller storage than the real one")
    if (name, lies) == ("index", "transposed") and torch.__version__.startswith("2.4."):
        pytest.skip("torch 2.4 forgets without data that an indexed map was transposed")
    module = Wide(lambda x: FUNCTIONS[name](LIES[lies](x)))
    module.first.weight.data = module.first.weight.data.contiguous(memory_format=LAST)
    images = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=LAST)
    with Beside() as beside:
        try:
            loss = F.cross_entropy(module(images), torch.zeros(BATCH, dtype=torch.int64))
        except RuntimeError as error:  # of a function that wants another order
            pytest.skip(str(error))
        loss.backward()
    assert beside.differ == []


def test_the_maps_of_a_kernel_are_recorded():
    x = torch.zeros(2, WIDTH, 5, 5)
    last, aten = x.contiguous(memory_format=LAST), torch.ops.aten
    norm, rest = aten.native_batch_norm_backward.default, [None] * 5 + [True, 1e-5, [True] * 3]
    found = call_of(norm, (x, last, *rest))
    assert found == KernelCall("batch_norm", (2, WIDTH, 5, 5), (False, True), (True, False))
    assert call_of(norm, (x[..., 0], last[..., 0], *rest)) is None and call_of(aten.relu.default, (x,)) is None
