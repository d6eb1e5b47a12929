"""Updates of every optimizer: what a real one keeps, makes and frees, against its row in the table."""

import copy

import pytest
import torch
from real import seldom
from torch import nn

import costmodel
from costmodel.errors import CostmodelError
from costmodel.frontends.modules.dry.flops import FlopCounter
from costmodel.pytorch.allocations import trace
from costmodel.pytorch.measure import measure
from costmodel.pytorch.updates import InPlace, optimizer_of
from costmodel.pytorch.validate import validate
from costmodel.step.events import SCRATCH
from costmodel.step.optimizer import OPTIMIZERS, find, split_list
from costmodel.step.slots import Slots
from costmodel.step.storages import Storages
from costmodel.step.update import COUNT, FREED, INNER_NUMBER, MADE, NUMBER, PASSED, REPLACED, Update, numbers_of
from costmodel.step.updating import write_update
from costmodel.targets import parse

TEXTS = [text for o in OPTIMIZERS.values() for text in (o.name, *(f"{o.name},{option}" for option in o.options))]
#: Numbers in the parameters of a network: single ones, falling and rising, and one without any.
SIZES = ([1], [1, 1, 1], [1001, 103, 1, 57], [1, 57, 1001], [4, 0, 9, 2])


def real(text, parameters):
    """The optimizer of torch, with gradients, after the updates that it takes to settle."""
    chosen = find(text)
    made = getattr(torch.optim, chosen.torch_class)(parameters, **dict(chosen.torch_options))
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    for _ in range(chosen.settled_after):
        made.step()
    return made


@pytest.mark.one_in(4)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", *seldom("float16")])
@pytest.mark.parametrize("text", TEXTS)
def test_an_update_is_torchs(text, dtype):
    """Its state and both its peaks, at three updates in a row."""
    chosen = find(text)
    for sizes in SIZES:
        parameters = [nn.Parameter(torch.randn(size, dtype=getattr(torch, dtype))) for size in sizes]
        optimizer, item = real(text, parameters), parameters[0].itemsize
        state = [one for kept in optimizer.state.values() for one in kept.values() if isinstance(one, torch.Tensor)]
        kept = chosen.state_bytes(sum(sizes), len(sizes), 8 * item)
        assert sum(one.nbytes for one in state) == kept
        with FlopCounter() as counter:
            optimizer.step()
        peaks = []
        for target in ("cpu", "none"):
            update = chosen.update_on(parse(target))
            turns = [item * sum(turn) for turn in update.turns(sizes)]
            peaks.append(update.peak(turns, numbers_of(parse(target), item)))
        for _ in range(3):
            found = trace(optimizer.step, counter.ops)
            assert [found.peak, found.tensor_peak] == peaks and found.left == 0, sizes


def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 151), nn.ReLU(), nn.Linear(151, 7, bias=False))


def bias_only():
    module = nn.Sequential(nn.Flatten(), nn.Linear(27, 10))
    module[1].weight.requires_grad_(False)
    return module


def many():
    return nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(5)], nn.Flatten(), nn.Linear(3, 401), nn.Linear(401, 1))


@pytest.mark.one_in(5)
@pytest.mark.parametrize("module, batch, side", [(wide, 1, 8), *seldom((bias_only, 3, 3), (many, 1, 1))])
@pytest.mark.parametrize("text", TEXTS)
def test_a_step_with_it_is_torchs(text, module, batch, side):
    found = measure(module(), batch, side, optimizer=text)
    tensors = costmodel.estimate(module(), "as_is", batch, side, optimizer=text, target="none")
    kernels = costmodel.estimate(module(), "as_is", batch, side, optimizer=text)
    assert (tensors.step_peak_bytes, tensors.left_bytes) == (found.tensor_peak_bytes, found.left_bytes)
    assert kernels.step_peak_bytes == found.step_peak_bytes and kernels.certainty.step_peak != "not_modelled"
    assert tensors.to_dict()["optimizer"] == text == find(text).name
    if module is wide and find(text).slots and "fused" not in text and "momentum" not in text:
        assert tensors.peak_at["phase"] == ("backward" if find(text).in_place else "update")


def test_moves_by_hand():
    """The parameter before has 30 bytes, this one 100, a number 8."""
    numbers = dict.fromkeys(numbers_of(parse("none"), 4), 8)

    def peak(text, target="none"):
        update = find(text).update_on(parse(target))
        return update.peak([sum(turn) for turn in update.turns([30, 100])], numbers)

    assert peak("sgd") == peak("sgd,foreach") == peak("sgd,fused") == 0
    assert peak("momentum") == 8 and peak("momentum,fused") == 0
    assert peak("adam") == peak("adamw") == 30 + 100 + 100 + 8
    assert peak("nadam") == 30 + 100 + 100  # no number is handed to a square root
    assert peak("rmsprop") == 30 + 100  # the root before is gone when the number comes
    assert peak("adagrad") == 30 + 100 + 8
    assert peak("radam") == 5 * 100 + 8
    assert peak("adadelta") == 30 + 100 + 100 + 8
    assert peak("adam,foreach") == 130 + 8 and peak("adagrad,foreach") == 130 + 130 + 8
    assert peak("adam", "cuda") == peak("adam,foreach")  # torch takes it by itself there
    assert peak("adam,fused", "cuda") == peak("adam,fused") == 8


@pytest.mark.parametrize("moves", {moves for o in OPTIMIZERS.values() for moves in (o.loop, o.foreach, o.fused or ())})
def test_what_is_made_is_freed_once_or_replaced_by_the_next_one(moves):
    assert {verb for verb, _ in moves} <= {MADE, FREED, REPLACED, PASSED}
    names = [what for verb, what in moves if verb == MADE]
    assert len({*names}) == len(names)
    assert sorted(names) == sorted(what for verb, what in moves if verb in (FREED, REPLACED))


def test_an_update_of_two_data_types_takes_one_after_the_other_and_of_three_no_rule_tells():
    update = find("adam,foreach").update_on(parse("none"))
    assert update.turns("abcd", ["float32", "bfloat16", "float32", "float32"]) == [("b",), ("a", "c", "d")]
    three = ["float32", "bfloat16", "float16"]
    with pytest.raises(CostmodelError, match="float32, bfloat16, float16; allowed: two data types"):
        update.turns("abc", three)
    assert find("adam,fused").update_on(parse("none")).turns("abc", three) == [("c",), ("b",), ("a",)]
    assert Update((COUNT, NUMBER)).turns("ab", three) == [("a",), ("b",)]
    assert Update((INNER_NUMBER,), together=True).turns([]) == []


class Halves(nn.Module):
    """Parameters of two data types, in turns."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 301), nn.Linear(301, 203).bfloat16()
        self.third, self.fourth = nn.Linear(203, 51), nn.Linear(51, 5).bfloat16()

    def forward(self, x):
        x = self.second(self.first(x.flatten(1).float()).bfloat16())
        return self.fourth(self.third(x.float()).bfloat16()).float()


@pytest.mark.one_in(4)
@pytest.mark.parametrize("text", [text for text in TEXTS if not find(text).in_place])
def test_a_dry_step_of_two_data_types(text):
    found = costmodel.estimate(Halves(), "as_is", 1, 2, optimizer=text, target="none")
    assert found.certainty.saved == "dry"
    assert found.step_peak_bytes == measure(Halves(), 1, 2, optimizer=text).tensor_peak_bytes


def test_updates_in_place_need_the_graph_and_a_single_micro_step():
    with pytest.raises(CostmodelError, match="optimizer 'sgd,in_place' needs the graph; allowed: without in_place"):
        costmodel.estimate(Halves(), "as_is", 1, 2, optimizer="sgd,in_place", target="none")
    with pytest.raises(CostmodelError, match="'adam,in_place' updates in every micro-step, and accumulate is 4"):
        costmodel.estimate("mobilenet_v2", optimizer="adam,in_place", accumulate=4)


def shared():
    """A linear layer with two uses."""
    layer = nn.Linear(12, 12)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(12, 3))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("optimizer", ["sgd,in_place", "adam,in_place", *seldom("radam,in_place")])
@pytest.mark.parametrize("network, strategy, convention", [
    ("mcunet_5fps", "full", "torch"), ("mcunet_5fps", "full,checkpoint=blocks", "lean"),
    ("mcunet_5fps", "mobiletl:3+quantised", "lean"), *seldom(
        ("mobilenet_v2", "full", "lean"), ("mobilenet_v3_small", "full", "torch"), ("efficientnet_b0", "bias", "lean"),
        ("mobilenet_v3_small", "blocks:3", "lean"), ("proxyless_mobile_tinytl", "tinytl-lb", "torch"),
    ),
])  # fmt: skip
def test_steps_that_update_in_place(network, strategy, convention, optimizer):
    """No gradient is left, and each lives as long as its parameter's update."""
    checks = validate(costmodel.load(network), strategy, 2, 97, convention, target="cpu", optimizer=optimizer)
    assert [check for check in checks if check.error] == []
    assert costmodel.estimate(network, strategy, 2, 97, convention, optimizer, "none").left_bytes == 4  # the loss


def test_an_update_within_a_nodes_backward_is_at_that_node():
    """Adam's two tensors of a parameter of 10 numbers are made and freed at node 7."""
    storages = Storages()
    write_update(find("adam,in_place").update_on(parse("none")), [0], Slots(1, 0, 1, 1, 0, 0, [], []), storages, 7)
    assert {event.node for event in storages.events} == {7}
    assert [event.sign for event in storages.events if event.category == SCRATCH].count(1) >= 2
    assert sum(event.sign for event in storages.events) == 0


def test_hooks_update_what_a_loop_updates():
    torch.manual_seed(0)
    first, x = wide(), torch.randn(4, 3, 8, 8)
    second = copy.deepcopy(first)
    for module, text in ((first, "adam"), (second, "adam,in_place")):
        optimizer = optimizer_of(find(text), [*module.parameters()])
        for _ in range(3):
            module(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert isinstance(optimizer, InPlace) and optimizer.updated == 3 * 64 * 151 + 151 + 151 * 7
    for one, other in zip(first.parameters(), second.parameters()):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_parameter_of_two_uses_is_updated_once():
    found = measure(shared(), 2, 2, optimizer="adam,in_place")
    priced = costmodel.estimate(shared(), "as_is", 2, 2, optimizer="adam,in_place", target="none")
    assert (priced.step_peak_bytes, priced.left_bytes) == (found.tensor_peak_bytes, found.left_bytes)
    assert found.trainable_parameters == 12 * 13 + 3 * 13


def test_texts():
    assert [find(text).name for text in TEXTS] == TEXTS
    assert split_list("adam,foreach,sgd") == ["adam,foreach", "sgd"]
    assert split_list("foreach,adam") == ["foreach", "adam"]
    for text, said in [
        ("nadam,fused", "optimizer 'nadam,fused' has 'fused' behind its name; allowed: foreach or in_place"),
        ("adam,foreach,fused", "has 'foreach,fused' behind its name; allowed: foreach or fused or in_place"),
        ("adam,", "has '' behind its name; allowed: foreach or fused or in_place"),
        ("adam, foreach", "has ' foreach' behind its name"),
        ("foreach", "unknown optimizer 'foreach'"),
        (["adam"], r"unknown optimizer \['adam'\]"),
    ]:
        with pytest.raises(CostmodelError, match=said):
            find(text)
