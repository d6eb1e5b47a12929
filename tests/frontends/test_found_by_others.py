"""What people who had not seen the code found: small modules of which something wrong was said, or nothing."""

import threading

import pytest
import torch
from strange import Base
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import costmodel
from costmodel import CostmodelError
from costmodel.frontends import load_or_dry
from costmodel.frontends.modules.dry.kept import SavedStorages
from costmodel.pytorch import measure, realize
from costmodel.pytorch.copies import copy_of
from costmodel.pytorch.validate import validate

SIZE = {"batch": 3, "resolution": 10}


def middle(call, **held):
    """A module whose middle is a function of itself and its map. held: what it has besides."""

    class Own(Base):
        def middle(self, x):
            return call(self, x)

    module = Own()
    for name, value in held.items():
        setattr(module, name, value)
    return module


@pytest.mark.parametrize("hook", ["register_hook", "register_post_accumulate_grad_hook"])
def test_hooks_of_parameters_are_refused(hook):
    module = Base()
    getattr(module.first.weight, hook)(lambda gradient: None)
    for call in (costmodel.estimate, realize):
        with pytest.raises(CostmodelError, match="parameter 'first.weight' has a hook for its gradient"):
            call(module)


@pytest.mark.parametrize("strategy", ["as_is", "inference"])
def test_a_question_for_data_whose_error_is_caught_is_told(strategy):
    def careful(module, x):
        try:
            fine = bool((x * 2).sum() > 0)
        except Exception:
            return x
        return x.sigmoid() if fine else x

    def by_number(module, x):
        try:
            return x * float(x.sum())
        except Exception:
            return x

    for call in (careful, by_number):
        with pytest.raises(CostmodelError, match="the network catches an error of the dry step"):
            costmodel.estimate(middle(call), strategy, **SIZE)


@pytest.mark.parametrize("kernel, stride", [(2, 2), (4, 2), (3, 1)])
def test_flops_of_transposed_convolutions(kernel, stride):
    module = middle(lambda self, x: self.up(x), up=nn.ConvTranspose2d(8, 8, kernel, stride))
    found = costmodel.estimate(module, "as_is", **SIZE)
    with FlopCounterMode(display=False) as forward:
        loss = F.cross_entropy(module(torch.randn(3, 3, 10, 10)), torch.zeros(3, dtype=torch.int64))
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert found.flops["forward"] == forward.get_total_flops()
    assert found.flops["backward"] == backward.get_total_flops()


def test_a_weight_alone_in_channels_last():
    module = Base()
    module.second.weight.data = module.second.weight.data.contiguous(memory_format=torch.channels_last)
    found = costmodel.estimate(module, "as_is", target="cpu,threads=1", **SIZE)
    assert found.certainty.step_peak == "not_modelled"
    assert found.step_peak_bytes <= measure(module, **SIZE, target="cpu,threads=1").step_peak_bytes


@pytest.mark.parametrize("held", [{"scale": nn.Parameter(torch.tensor(2.0))}, {}])
def test_a_single_number_of_the_module_is_not_saved(held):
    module = middle(lambda self, x: x * self.scale, **held)
    if not held:
        module.register_buffer("scale", torch.tensor(2.0))
    own = {tensor.untyped_storage().data_ptr() for tensor in [*module.parameters(), *module.buffers()]}
    saved = SavedStorages(own)
    saved.start()
    loss = module(torch.randn(3, 3, 10, 10)).sum()
    saved.stop()
    hooks = dict(saved.storages)
    saved.settle(loss)
    assert saved.beside == {} and sum(hooks.values()) > 0
    assert costmodel.estimate(module, "as_is", **SIZE).saved_bytes == measure(module, **SIZE).saved_bytes


def in_double(module, x):
    return x.double().sigmoid().float()


def test_gradients_of_earlier_micro_batches_are_not_in_a_dry_step():
    with pytest.raises(CostmodelError, match="accumulate needs the graph; allowed: 1"):
        costmodel.estimate(middle(in_double), "as_is", accumulate=2, **SIZE)


class Wide(Base):
    """So wide behind the maps that the update takes more than the backward pass."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Sequential(nn.Linear(8, 400), nn.Linear(400, 8))

    def head(self, x):
        return self.fc(self.wide(in_double(self, x.mean((2, 3)))))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_the_update_may_be_the_peak_of_a_dry_step(optimizer):
    found = costmodel.estimate(Wide(), "as_is", 1, 4, target="none", optimizer=optimizer)
    real = measure(Wide(), 1, 4, optimizer=optimizer)
    assert found.certainty.saved == "dry" and real.tensor_peak_bytes == found.step_peak_bytes
    if optimizer == "adam":  # two temporary tensors in the size of a weight, above the gradients
        assert found.step_peak_bytes > costmodel.estimate(Wide(), "as_is", 1, 4, target="none").step_peak_bytes


def softmax_in_evaluation(module, x):
    return x if module.training else x.softmax(1)


def counted(module, x):
    module.steps += 1
    return x * 1.0


def buffered(module, x):
    module.ema.mul_(0.9)
    return x * 1.0


def test_a_realised_module_is_the_same_in_evaluation_mode_and_keeps_no_state():
    with pytest.raises(CostmodelError, match="in evaluation mode outputs differ"):
        realize(costmodel.load(middle(softmax_in_evaluation), resolution=10))
    with pytest.raises(CostmodelError, match="it changes steps in its forward, which the realised module does not"):
        realize(costmodel.load(middle(counted, steps=0), resolution=10))
    module = middle(buffered)
    module.register_buffer("ema", torch.zeros(3))
    with pytest.raises(CostmodelError, match="it changes ema in its forward"):
        realize(costmodel.load(module, resolution=10))
    dropped = middle(lambda self, x: F.dropout(x, 0.5))  # always: the original's outputs are never the same
    realize(costmodel.load(dropped, resolution=10))


def test_a_module_that_cannot_be_measured_says_why():
    locked = middle(lambda self, x: x, lock=threading.Lock())
    with pytest.raises(CostmodelError, match="Own cannot be copied"):
        copy_of(locked)
    with pytest.raises(CostmodelError, match="Own cannot be copied"):
        measure(locked, **SIZE)
    assert costmodel.estimate(locked, "as_is", **SIZE).certainty.saved == "checked"
    outside = middle(lambda self, x: self.call(x), scale=nn.Parameter(torch.ones(8, 1, 1)))
    outside.call = lambda x: x * outside.scale
    with pytest.raises(CostmodelError, match="trains parameters of the module itself"):
        measure(outside, **SIZE)


def test_one_block_at_two_places():
    block = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU())
    module = Base(nn.Sequential(block, nn.Conv2d(8, 8, 1), block))
    found = costmodel.estimate(module, "full", target="none", **SIZE)
    real = measure(module, **SIZE)
    assert (found.saved_bytes, found.step_peak_bytes) == (real.saved_bytes, real.tensor_peak_bytes)
    assert found.certainty.saved == "checked" and found.trainable_parameters == real.trainable_parameters


def test_modules_in_odd_states():
    with torch.device("meta"):
        nowhere = Base()
    assert costmodel.estimate(nowhere, "as_is", **SIZE).certainty.saved == "checked"
    averaged = Base()
    averaged.norm.momentum = None
    assert costmodel.estimate(averaged, "as_is", **SIZE).certainty.saved == "checked"
    assert averaged.norm.num_batches_tracked == 0
    with torch.inference_mode():
        made = Base()
    with pytest.raises(CostmodelError, match="was made in inference mode"):
        costmodel.estimate(made)


def test_a_checkpoint_within_a_checkpoint_is_a_dry_steps():
    def nested(module, x):
        return checkpoint(lambda y: checkpoint(module.second, y.relu(), use_reentrant=False).sigmoid(), x,
                          use_reentrant=False)  # fmt: skip

    found, real = costmodel.estimate(middle(nested), "as_is", target="none", **SIZE), measure(middle(nested), **SIZE)
    assert found.certainty.saved == "dry" and found.saved_bytes == real.saved_bytes


def test_a_class_that_is_called_like_a_librarys_drop_path_is_ones_own():
    class DropPath(nn.Module):
        def forward(self, x):
            return x * 2

    module = middle(lambda self, x: self.drop(x), drop=DropPath())
    assert "mul_number" in [node.op.kind for node in costmodel.load(module, resolution=10).graph.nodes]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_of_the_caller_does_not_matter(mode):
    module, found = Base(), costmodel.estimate(Base(), "full", **SIZE)
    with mode():
        again, real = costmodel.estimate(module, "full", **SIZE), measure(module, **SIZE)
    assert again.saved_bytes == found.saved_bytes == real.saved_bytes and again.certainty == found.certainty


def test_a_step_that_ends_the_process_is_told_and_not_run():
    module = middle(lambda self, x: in_double(self, self.group(x.detach())), group=nn.GroupNorm(2, 8))
    with pytest.raises(CostmodelError, match="torch crashes in the backward pass of a group norm"):
        validate(load_or_dry(module), "as_is", 3, 10, target="cpu,threads=1,channels_last")


def test_a_module_that_depends_on_the_size_is_realised_for_one_size():
    by_size = middle(lambda self, x: x / x.shape[-1])
    realised = realize(costmodel.load(by_size, resolution=32)).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(realised(images), by_size.eval()(images))
    with pytest.raises(ValueError, match="realised for inputs of 3x32x32, found 3x64x64"):
        realised(torch.randn(2, 3, 64, 64))
    for resolution in (32, 100):
        anywhere = realize(costmodel.load(Base(), resolution=resolution))
        anywhere(torch.randn(2, 3, 64, 64)), anywhere(torch.randn(2, 3, 40, 50))


class OfBuffer(Base):
    """A head that multiplies by a buffer."""

    def __init__(self, buffer):
        super().__init__()
        self.register_buffer("factor", buffer)

    def head(self, x):
        return self.fc(x.mean((2, 3)) * self.factor)


def test_a_buffer_that_gets_a_gradient_is_a_dry_steps():
    made = OfBuffer(torch.ones(8, requires_grad=True))
    found = costmodel.estimate(made, "as_is", **SIZE)
    assert found.certainty.saved == "dry" and found.saved_bytes == measure(made, **SIZE).saved_bytes


def test_a_module_with_an_expanded_buffer_is_left_as_it_was():
    made = OfBuffer(torch.ones(1).expand(8))
    made.norm = nn.BatchNorm2d(8)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    assert costmodel.estimate(made, "full", **SIZE).saved_bytes == measure(made, **SIZE).saved_bytes
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_storages_that_are_shared_or_larger_are_told():
    whole = torch.ones(1000)
    (note,) = costmodel.estimate(OfBuffer(whole[:8]), "full", **SIZE).notes
    assert "parts of larger ones" in note
    assert costmodel.estimate(OfBuffer(torch.ones(8)), "full", **SIZE).notes == ()


def test_integers_do_not_train_and_most_numbers_say_the_data_type():
    made = Base()
    made.table = nn.Parameter(torch.arange(3, dtype=torch.int32), requires_grad=False)
    assert costmodel.estimate(made, "full", **SIZE).saved_bytes == measure(made, **SIZE).saved_bytes
    made.scale = nn.Parameter(torch.ones(2, dtype=torch.float64))
    made._parameters.move_to_end("scale", last=False) if hasattr(made._parameters, "move_to_end") else None
    assert costmodel.estimate(made, "full", **SIZE).request.dtype.name == "float32"


def test_a_module_whose_real_step_fails_says_so():
    made = Base()
    made.norm.double()  # the statistics too: torch refuses them beside float32 maps
    with pytest.raises(CostmodelError, match="a real step of Base on a batch of 4 of 3x10x10 fails"):
        measure(made, 4, 10)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_bias_alone_of_16_bits(dtype):
    """oneDNN makes the weight's gradient with the bias's in bfloat16; float16 runs elsewhere. Where a processor has it
    otherwise, the dry step says so.
    """
    supported = {"bfloat16": "_is_mkldnn_bf16_supported", "float16": "_is_mkldnn_fp16_supported"}[dtype]
    if getattr(torch.ops.mkldnn, supported)() != (dtype == "bfloat16"):
        pytest.skip("this processor's oneDNN takes other data types than the rule says")
    made = Base()
    graph, dry = (costmodel.estimate(made, "bias", 1, 10, dtype=dtype, target="none", check=c) for c in (False, True))
    assert dry.certainty.tensor_peak == "checked" and graph.step_peak_bytes == dry.step_peak_bytes


def test_blocks_are_one_text():
    with pytest.raises(CostmodelError, match=r"blocks_are is \['first'\]; allowed: the name of the blocks' class, or"):
        costmodel.load(Base(), resolution=10, blocks_are=["first"])


class Beside(nn.Module):
    """Maxima of maps beside their images' means: the gradient of the maxima is a part of a concatenation's."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 64, 3, 2, 1), nn.AdaptiveMaxPool2d(1), nn.Linear(67, 5)

    def forward(self, x):
        return self.fc(torch.cat([self.pool(self.conv(x)).flatten(1), x.mean((2, 3))], 1))


@pytest.mark.parametrize("strategy, convention", [("full", "torch"), ("bias", "lean")])
def test_a_pools_gradient_that_is_a_part_of_a_concatenations(strategy, convention, one_thread):
    """A copy of 64 numbers for each image."""
    network = costmodel.load(Beside(), resolution=32)
    for batch in (1, 2, 4):
        found = costmodel.estimate(network, strategy, batch, 32, convention, target="cpu,threads=1")
        real = measure(realize(network, strategy, convention), batch, 32, target="cpu,threads=1")
        assert found.saved_bytes == real.saved_bytes
        assert found.step_peak_bytes == real.step_peak_bytes or found.certainty.step_peak == "not_modelled"
