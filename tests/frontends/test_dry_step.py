"""Dry steps: equal to real steps, whatever the module does; and they leave the module as it was."""

import copy
import random

import numpy as np
import pytest
import torch
from strange import CASES, Base, conv
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import costmodel
from costmodel import CostmodelError
from costmodel.frontends.modules.dry.kept import SavedStorages
from costmodel.frontends.modules.dry.lives import Lives
from costmodel.frontends.modules.dry.on_the_cpu import convolution_backward, on_the_cpu
from costmodel.frontends.modules.dry.stand_ins import MOST_COPIED_BYTES, same_chance
from costmodel.frontends.modules.dry.step import dry_step
from costmodel.frontends.modules.untouched import same_generators, untouched
from costmodel.graph.dry import Setting
from costmodel.graph.inputs import images
from costmodel.pytorch import measure

LIBRARIES = [
    "torchvision:resnet18", "torchvision:densenet121", "timm:levit_128s", "timm:swin_tiny_patch4_window7_224",
    "timm:ghostnet_100", "timm:xcit_nano_12_p16_224", "timm:mobilenetv4_conv_small", "timm:efficientnet_b0",
    "timm:repvit_m0_9",
]  # fmt: skip
#: In evaluation mode its first step remembers the attention biases, which the graph makes in each step.
CACHING = {("timm:levit_128s", "inference")}
OWN = Setting(None, None, True)
#: What a second run of the same step measures otherwise, or what `measure` refuses.
CHANCE = {"Chance", "PythonChance"}
BESIDE_AUTOGRAD = {"OnContext"}
#: A number that is kept behind a write through a view, which neither hooks nor autograd's nodes show: 8 bytes.
HIDDEN_NUMBER = {"view_written"}
#: Its images keep a gradient from step to step.
GRADIENT_OF_IMAGES = {"ImagesNeedGradients"}


def made(name):
    torch.manual_seed(0)
    module = CASES[name]()
    return module if name == "eval norm" else module.train()


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", CASES.keys() - CHANCE - BESIDE_AUTOGRAD - HIDDEN_NUMBER)
def test_a_dry_step_equals_a_real_one(name):
    module = made(name)
    dry = dry_step(module, images(10), 4, OWN)
    real = measure(module, 4, 10)
    assert dry.saved_bytes == real.saved_bytes
    assert dry.tensor_peak_bytes == real.tensor_peak_bytes
    assert (dry.flops["forward"], dry.flops["backward"]) == (real.forward_flops, real.backward_flops)
    assert dry.left_bytes - (4 * 3 * 10 * 10 * 4 if name in GRADIENT_OF_IMAGES else 0) == real.left_bytes
    sizes = {path: parameter.numel() for path, parameter in module.named_parameters()}
    assert sum(sizes[path] for path in dry.trained) == real.trainable_parameters
    assert sum(dry.forward_flops_of.values()) == real.forward_flops
    assert dry.unseen_bytes == 0 and not dry.is_random


@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_in_other_sizes_formats_and_data_types(batch, channels_last, dtype):
    module = made("Checkpointed")
    dry = dry_step(module, images(9), batch, OWN, dtype=getattr(torch, dtype), channels_last=channels_last)
    target = "cpu,channels_last" if channels_last else "cpu"
    real = measure(module, batch, 9, target=target, dtype=dtype)
    assert (dry.saved_bytes, dry.tensor_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)


def test_what_is_held_beside_autograd_is_found():
    # ctx.x of a custom function: a map of 4 x 8 x 10 x 10 numbers that no hook sees
    assert dry_step(made("OnContext"), images(10), 4, OWN).unseen_bytes == 4 * 8 * 10 * 10 * 4
    with pytest.raises(CostmodelError, match="are still allocated"):
        measure(made("OnContext"), 4, 10)


@pytest.mark.parametrize("name", sorted(CHANCE))
def test_what_depends_on_chance_is_found(name):
    assert dry_step(made(name), images(10), 4, OWN).is_random
    # noise that only fills tensors is none: the same ops run
    assert not dry_step(Base(nn.Dropout(0.5)).train(), images(10), 4, OWN).is_random


def held(module):
    """What can be seen of a module."""
    return {
        path: (
            child.training,
            {k: (id(p), p.requires_grad, None if p.grad is None else id(p.grad)) for k, p in child._parameters.items()},
            {k: (id(b), b.clone()) for k, b in child._buffers.items()},
            {k: v for k, v in child.__dict__.items() if not k.startswith("_")},
            len(child._forward_hooks),
        )
        for path, child in module.named_modules()
    }


class Remembers(Base):
    """Changes itself in forward: attributes, buffers, modes, hooks, a gradient."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.seen, self.list = None, [self.first.weight]

    def forward(self, x):
        self.steps += 1
        self.seen = x
        self.count = getattr(self, "count", 0) + 1
        self.norm.eval()
        self.second.register_forward_hook(lambda *_: None)
        return super().forward(x) + self.list[0].sum() * 0


@pytest.mark.parametrize("setting", [OWN, Setting(frozenset({"fc.weight"}), frozenset({"norm"}), True),
                                     Setting(frozenset(), frozenset(), False)])  # fmt: skip
def test_the_module_is_left_as_it_was(setting):
    module = Remembers()
    module.first.weight.requires_grad_(False)
    module.fc.weight.grad = torch.ones_like(module.fc.weight)
    before, states = held(module), (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())
    dry_step(module, images(8), 2, setting)
    after = held(module)
    for path, (training, parameters, buffers, attributes, hooks) in before.items():
        assert after[path][0] == training and after[path][1] == parameters and after[path][4] == hooks
        assert all(after[path][2][k][0] == one and after[path][2][k][1].equal(b) for k, (one, b) in buffers.items())
        assert after[path][3].keys() == attributes.keys()
    assert module.seen is None and not hasattr(module, "count") and int(module.steps) == 0
    assert torch.get_rng_state().equal(states[0]) and random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()
    assert nn.Module.__call__ is type(module).__call__


class Careless(Base):
    """Writes wherever it can while it runs."""

    def __init__(self):
        super().__init__()
        self.register_buffer("b", torch.zeros(2))
        self.plain, self.list, self.names = torch.zeros(3), [], {}

    def forward(self, x):
        self.first.weight.data.mul_(0.5)
        self.fc.bias.data = torch.ones(5)
        self.b = self.b + 1
        self.plain.add_(1)
        self.list.append(x)
        self.names["x"] = x
        self.norm.momentum = random.random() + float(np.random.rand())
        self.extra = conv(8, 8)
        return super().forward(x)


@pytest.mark.parametrize("run", [
    lambda module: costmodel.estimate(module, "as_is", 2, 8),
    lambda module: costmodel.estimate(module, "as_is", 2, 8, check=False),
    lambda module: dry_step(module, images(8), 2, OWN),
])  # fmt: skip
def test_a_module_that_changes_itself_is_left_as_it_was(run):
    module = Careless()
    before, chance = copy.deepcopy(module.state_dict()), (random.getstate(), np.random.get_state()[1].copy())
    pointers = {path: p.data_ptr() for path, p in module.named_parameters()}
    try:
        run(module)
    except CostmodelError:
        pass
    assert all(value.equal(before[key]) for key, value in module.state_dict().items())
    assert {path: p.data_ptr() for path, p in module.named_parameters()} == pointers
    assert module.plain.equal(torch.zeros(3)) and module.list == [] and module.names == {} and module.extra is None
    assert module.norm.momentum == 0.1
    assert random.getstate() == chance[0] and (np.random.get_state()[1] == chance[1]).all()
    module(torch.zeros(2, 3, 8, 8)).sum().backward()


def test_what_a_dry_step_cannot_leave_alone_is_refused():
    scripted = Base(torch.jit.script(conv(8, 8)))
    with pytest.raises(CostmodelError, match="'extra' is compiled by TorchScript"):
        costmodel.estimate(scripted, "as_is", 2, 8)
    sparse = Base()
    sparse.register_buffer("table", torch.eye(3).to_sparse())
    with pytest.raises(CostmodelError, match="buffer 'table' is sparse"):
        costmodel.estimate(sparse, "as_is", 2, 8)


@pytest.mark.parametrize("call", [lambda x: x.cumprod(1), lambda x: x * x.prod(1, keepdim=True),
                                  lambda x: torch.fft.irfft2(torch.fft.rfft2(x))])  # fmt: skip
def test_ops_that_do_something_else_without_data_are_refused(call):
    module = type("Odd", (Base,), {"middle": lambda self, x: call(x)})()
    with pytest.raises(CostmodelError, match="is not known without data"):
        costmodel.estimate(module, "as_is", 2, 8)


def test_flops_under_inference_mode_count():
    class Inferred(Base):
        def forward(self, x):
            with torch.inference_mode():
                y = self.second(torch.relu(self.first(x)))
            return self.head(y.clone())

    # convolutions 3 -> 8 and 8 -> 8 of 3x3 on 2 maps of 8x8, and 8 -> 5
    macs = 2 * 64 * 8 * 9 * (3 + 8) + 2 * 8 * 5
    assert (
        dry_step(Inferred(), images(8), 2, OWN).flops["forward"] == 2 * macs == measure(Inferred(), 2, 8).forward_flops
    )


def test_collections_and_generators_are_put_back():
    module = nn.ReLU()
    module.seen = {"a": [1]}
    with untouched(module), same_generators():
        module.seen["b"] = random.random()
        module.more = 3
    assert module.seen == {"a": [1]} and not hasattr(module, "more")


def test_also_after_a_failure():
    class Fails(Remembers):
        def forward(self, x):
            super().forward(x)
            raise RuntimeError("not today")

    module = Fails()
    before = held(module)
    with pytest.raises(CostmodelError, match=r"a dry step on 3x8x8 fails: .*test_dry_step.py.*not today"):
        dry_step(module, images(8), 2, OWN)
    assert held(module).keys() == before.keys() and not hasattr(module, "count")
    assert torch.get_rng_state() is not None and nn.Module.__call__ is type(module).__call__


def test_code_may_read_what_depends_neither_on_images_nor_on_parameters():
    class Reads(Base):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.tensor(3.0))
            self.register_buffer("table", torch.zeros(MOST_COPIED_BYTES))  # 4 MB: not copied

        def middle(self, x):
            return torch.sigmoid(x) if self.scale.item() > 2 and torch.arange(5).sum().item() == 10 else x

    assert dry_step(Reads(), images(8), 2, OWN).saved_bytes == measure(Reads(), 2, 8).saved_bytes

    class Looks(Base):
        def middle(self, x):
            return x if x.sum().item() > 0 else x * 2

    with pytest.raises(CostmodelError, match="a dry step .* fails"):
        dry_step(Looks(), images(8), 2, OWN)


def test_a_network_that_returns_no_tensor_is_refused():
    class Pair(Base):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(CostmodelError, match="the network returns a tuple"):
        dry_step(Pair(), images(8), 2, OWN)


def test_lives_follow_storages_until_they_are_freed():
    x = torch.zeros(4, 4)
    with Lives([x]) as lives:
        y = x + 1
        view = y.view(16)
        assert lives.level == 64
        del y
        assert lives.level == 64
        del view
        assert lives.level == 0 and lives.peak == 64 + 8  # with the number 1 as a tensor


def test_chance_is_the_same_inside_and_goes_on_outside():
    torch.manual_seed(3)
    with same_chance(0) as drawn:
        first = torch.rand(2), np.random.rand(), random.random()
    assert drawn == [True]
    with same_chance(0) as drawn:
        assert drawn == []
    assert drawn == [False]
    goes_on = torch.rand(1)
    torch.manual_seed(3)
    assert torch.rand(1).equal(goes_on)
    with same_chance(0):
        again = torch.rand(2), np.random.rand(), random.random()
    assert again[0].equal(first[0]) and again[1:] == first[1:]


def test_kept_storages_are_called_once_each():
    class First(SavedStorages):
        def kept_first(self, address, tensor):
            calls.append(tuple(tensor.shape))

    calls = []
    saved = First(set())
    saved.start()
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    z = y * y
    saved.stop()
    saved.settle(z.sum())
    assert calls == [(3,)] and saved.level == 12


def test_a_shared_module_and_a_deep_copy_are_the_same_to_a_dry_step():
    net = nn.Sequential(shared := conv(3, 3), nn.ReLU(), shared, nn.Flatten(), nn.Linear(3 * 64, 4))
    dry = dry_step(net, images(8), 2, OWN)
    assert dry == dry_step(copy.deepcopy(net), images(8), 2, OWN)
    real = measure(net, 2, 8)
    assert (dry.saved_bytes, dry.tensor_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("strategy", "full bias norm+last last blocks:2 mobiletl:2 inference as_is".split())
def test_libraries_networks_are_checked_and_hold(name, strategy):
    found = costmodel.estimate(name, strategy, 2, target="none")
    assert set(found.certainty) == {"dry" if (name, strategy) in CACHING else "checked"}, found.notes


def test_the_cpus_kernels_make_more_than_was_asked_for():
    real = (torch.zeros(2, 8, 9, 9), torch.zeros(2, 8, 9, 9), torch.zeros(8, 8, 3, 3))
    mode = FakeTensorMode()
    fake = tuple(map(mode.from_tensor, real))
    for mask, makes in (([True, False, True], True), ([True, False, False], False), ([True, True, True], True)):
        rest = ([8], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask)
        made, found = convolution_backward(*real, *rest), on_the_cpu(convolution_backward, (*fake, *rest), {})
        again = on_the_cpu(convolution_backward, (*fake, *rest), {})  # remembered
        for one, other, third in zip(made, found, again):
            assert (one is None) == (other is None) == (third is None)
            assert one is None or (one.shape, one.stride(), one.dtype) == (other.shape, other.stride(), third.dtype)
        assert (found[1] is not None) == makes
