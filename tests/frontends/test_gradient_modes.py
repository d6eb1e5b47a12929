"""What a network says about gradients is in its graph: estimates equal dry steps, real steps and realised modules."""

import copy

import pytest
import torch
from real import seldom
from strange import CASES, Base, Swish
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import costmodel
from costmodel import CostmodelError
from costmodel.frontends.modules.asked import ASKED
from costmodel.frontends.modules.own_autograd import followed
from costmodel.frontends.modules.storages import overlap
from costmodel.graph.checkpointing import reruns
from costmodel.pytorch import measure, realize
from costmodel.step.certainty import CHECKED

SIZE = {"batch": 4, "resolution": 10, "target": "none"}


def features(net, x):
    return net.second(torch.relu(net.norm(net.first(x))))


def frozen(net, x):
    with torch.no_grad():
        return features(net, x)


def one_way(net, x):
    y = net.first(x)
    return net.head(net.second(torch.relu(y.detach())) + y)


def gate(net, x):
    y = features(net, x)
    return net.head(y * torch.sigmoid(y.mean((2, 3), keepdim=True)).detach())


def held_for_long(net, x):
    y = features(net, x)
    return net.head(y.detach() * 2)


def weight(net, x):
    return net.head(F.conv2d(features(net, x), net.second.weight.detach(), padding=1))


def of_data(net, x):
    return net.head(net.second(torch.relu(net.first(x).data)))


def view_without_autograd(net, x):
    y = net.first(x)
    with torch.no_grad():
        z = y.flatten(2)
    return net.fc(z.mean(2))


def overwritten(net, x):
    with torch.no_grad():
        y = net.first(x).relu_()
    return net.head(net.second(y).relu_())


def on_again(net, x):
    with torch.no_grad():
        y = net.first(x)
        with torch.enable_grad():
            y = net.second(torch.relu(y))
        y = y * 2
        with torch.enable_grad():
            y = net.second(y)
    return net.head(y)


def chunks(net, x):
    a, b = net.first(x).chunk(2, 1)
    with torch.no_grad():
        b = torch.relu(b)
    return net.head(torch.cat([a, b], 1))


def block_again(net, x):
    return net.head(checkpoint(net.second, torch.relu(net.first(x)), use_reentrant=False))


def method_again(net, x):
    return net.head(checkpoint(lambda y: net.second(torch.relu(net.norm(y))), net.first(x), use_reentrant=False))


def random_again(net, x):
    def part(y):
        return F.dropout(torch.relu(net.second(y)), 0.5)

    return net.head(checkpoint(part, net.first(x), use_reentrant=False))


def no_state(net, x):
    more = {"use_reentrant": False, "preserve_rng_state": False}
    return net.head(checkpoint(net.second, torch.relu(net.first(x)), **more))


def twice_again(net, x):
    for _ in range(2):
        x = checkpoint(lambda x: torch.relu(net.second(x)), net.first(x) if x.shape[1] == 3 else x, use_reentrant=False)
    return net.head(x)


def again_without_autograd(net, x):
    with torch.no_grad():
        y = checkpoint(net.first, x, use_reentrant=False)
    return net.head(net.second(y))


def asks_flags(net, x):
    y = net.first(x)
    ok = y.requires_grad and not y.is_leaf and y.grad_fn is not None and net.first.weight.is_leaf
    with torch.no_grad():
        z = y * 2
        ok = ok and not torch.is_grad_enabled() and not z.requires_grad and z.is_leaf and z.grad_fn is None
    ok = ok and y.device == net.first.weight.device and y.is_cpu and not y.is_meta and not y.is_cuda
    return net.head(net.second(y + z) if ok and not x.requires_grad else y)


BODIES = (
    frozen, one_way, gate, held_for_long, weight, of_data, overwritten, on_again, chunks, block_again, method_again,
    random_again, no_state, twice_again, again_without_autograd, asks_flags,
)  # fmt: skip


def made(body):
    torch.manual_seed(0)
    forward = (lambda self, x: self.head(frozen(self, x))) if body is frozen else body
    return type(body.__name__, (Base,), {"forward": forward})().train()


def figures(one):
    if isinstance(one, costmodel.Estimate):
        flops = one.flops["forward"], one.flops["backward"]
        return one.saved_bytes, one.step_peak_bytes, one.left_bytes, one.trainable_parameters, *flops
    flops = one.forward_flops, one.backward_flops
    return one.saved_bytes, one.tensor_peak_bytes, one.left_bytes, one.trainable_parameters, *flops


@pytest.mark.one_in(4)
@pytest.mark.parametrize("body", BODIES)
def test_the_graph_equals_a_dry_step_a_real_step_and_the_realised_module(body):
    module = made(body)
    found = costmodel.estimate(module, "as_is", **SIZE)
    assert found.certainty.saved == found.certainty.tensor_peak == CHECKED and found.notes == ()
    assert figures(found) == figures(measure(module, 4, 10))
    network = costmodel.load(module, resolution=10)
    assert figures(found) == figures(measure(realize(network, "as_is"), 4, 10))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("body", [one_way, held_for_long, block_again])
def test_other_strategies_and_conventions_have_it_too(body):
    network = costmodel.load(made(body), resolution=10)
    for strategy in ("full", "bias", "last", "inference"):
        assert costmodel.estimate(network, strategy, **SIZE).certainty.saved == CHECKED
    lean, ideal = (costmodel.estimate(network, "bias", convention=c, **SIZE) for c in ("lean", "ideal"))
    assert figures(lean) == figures(measure(realize(network, "bias", "lean"), 4, 10))
    assert ideal.saved_bytes <= lean.saved_bytes <= costmodel.estimate(network, "bias", **SIZE).saved_bytes
    assert len(costmodel.sweep(network, "full,last", batch="2,4", resolution=10)) == 4


def test_what_is_behind_a_stopped_gradient_does_not_train():
    network = costmodel.load(made(held_for_long), resolution=10)
    full = costmodel.estimate(network, "full", optimizer="adam", **SIZE)
    assert full.trainable_parameters == 8 * 5 + 5 and full.parameters == 869
    assert full.memory_bytes["optimizer"] == 2 * 4 * 45 + 2 * 4  # two moments and two step counts
    assert full.saved_bytes == costmodel.estimate(network, "last", **SIZE).saved_bytes
    # The graph of the first part is held until `y` is freed: the forward pass peaks higher than that of `last`.
    assert full.step_peak_bytes > costmodel.estimate(network, "last", **SIZE).step_peak_bytes
    assert [str(node).endswith("without autograd") for node in network.graph.nodes if node.op.kind == "detach"] == [
        True
    ]


@pytest.mark.parametrize("name", seldom("timm:mobilenetv3_small_050", "timm:convnext_atto", "timm:resnet18"))
def test_timms_own_checkpoints(name):
    module = costmodel.load(name).module.train()
    plain = costmodel.estimate(module, "full", 2, 64, target="none")
    module.set_grad_checkpointing()
    found = costmodel.estimate(module, "full", 2, 64, target="none")
    assert found.certainty.saved == CHECKED and found.saved_bytes < plain.saved_bytes
    assert found.flops["recomputed"] > 0 == plain.flops["recomputed"]
    assert figures(found) == figures(measure(module, 2, 64))


def test_a_checkpoint_is_a_module_or_a_part_from_node_to_node():
    (scope,) = costmodel.load(made(block_again), resolution=10).graph.checkpointed
    (part,) = costmodel.load(made(method_again), resolution=10).graph.checkpointed
    assert (scope, part) == ("second", "norm..second")
    graph = costmodel.estimate(made(method_again), "full", **SIZE).graph
    (rerun,) = reruns(graph)
    assert rerun.is_random  # no random number is drawn, but the generator's state is kept


def test_plans_refuse_what_they_cannot_undo():
    for body, why in ((block_again, "runs 'second' again"), (frozen, "'first' runs without autograd")):
        with pytest.raises(CostmodelError, match=why):
            costmodel.plan(made(body), 10**9, batch=2, resolution=10)
    with pytest.raises(CostmodelError, match="runs again already; allowed: once"):
        blocks = costmodel.load(made(method_again), blocks_are="Conv2d", resolution=10)
        costmodel.estimate(blocks, "full,checkpoint=blocks", **SIZE)


def test_a_spec_keeps_what_runs_without_autograd(tmp_path):
    from costmodel.frontends.spec.export import to_yaml

    network = costmodel.load(made(frozen), resolution=10)
    path = tmp_path / "net.yaml"
    path.write_text(to_yaml(network))
    again = costmodel.load(str(path))
    assert [node.records for node in again.graph.nodes] == [node.records for node in network.graph.nodes]
    assert not all(node.records for node in again.graph.nodes)
    assert figures(costmodel.estimate(again, "full", **SIZE)) == figures(costmodel.estimate(network, "full", **SIZE))


@pytest.mark.parametrize("name", ["EnableGrad", "SetGradEnabled", "Decorated", "AsksGradFn", "AsksDevice"])
def test_a_trace_leaves_the_mode_of_autograd_and_torch_as_it_was(name):
    apply, module = torch.autograd.Function.apply, CASES[name]()
    state = copy.deepcopy(module.state_dict())
    costmodel.load(module, resolution=10)
    assert torch.is_grad_enabled() and torch.autograd.Function.apply == apply
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def writes_through_a_slice(net, x):
    y = net.first(x) * 1.5
    y[:, :4].relu_()
    return net.head(y)


def writes_through_a_view(net, x):
    y = net.first(x) + 1
    y.view(-1).mul_(2)
    return net.head(y)


def adds_to_a_slice(net, x):
    y = net.first(x) * 2
    part = y[:, 2:]
    part += 1
    return net.head(y)


def sets_by_a_mask(net, x):
    y = net.first(x) * 2
    y[y < 0] = 0
    return net.head(y)


@pytest.mark.parametrize("body, said", [
    (writes_through_a_slice, r"a write through a view of a tensor that is read later .*y\[:, :4\]\.relu_\(\)"),
    (writes_through_a_view, r"a write through a view of a tensor that is read later .*mul_\(2\)"),
    (adds_to_a_slice, r"a write through a view of a tensor that is read later .*part \+= 1"),
    (sets_by_a_mask, r"a write at other than numbers and slices .*y\[y < 0\] = 0"),
])  # fmt: skip
def test_what_is_written_through_a_view_is_refused_with_its_line_or_answered_by_a_dry_step(body, said):
    module = made(body)
    with pytest.raises(CostmodelError, match=said):
        realize(module)
    found = costmodel.estimate(module, "as_is", **SIZE)
    if body is not writes_through_a_view:  # a number that it keeps is seen by no hook: `measure` refuses it
        assert figures(found) == figures(measure(copy.deepcopy(module), 4, 10))
    assert found.certainty.saved == "dry" and "without a layer graph" in found.notes[0]


def test_a_write_that_nobody_else_sees_is_traced():
    def pieces(net, x):
        y = net.first(x) * 2
        a, b = y[:, :4], y[:, 4:]
        del y
        return net.head(torch.cat([a.relu_(), b], 1))

    def last_use(net, x):
        return net.fc((net.first(x) * 2).flatten(2).relu_().mean(2))

    def sets_a_slice(net, x):
        y = net.first(x) * 2
        y[:, 2:] = 0
        return net.head(y)

    for body in (pieces, last_use, sets_a_slice):
        module = made(body)
        realize(costmodel.load(module, resolution=10), "full")
        assert figures(costmodel.estimate(module, "as_is", **SIZE)) == figures(measure(module, 4, 10))


@pytest.mark.parametrize("name, said", [
    ("Swish", "Swish, which has a backward of its own"), ("Reversal", "Reversal, which has a backward of its own"),
    ("Autocast", "autocast is not supported"), ("MeanInDouble", "mean in another data type"),
    ("FrozenInForward", "requires_grad_ is not supported"), ("OneLayerInHalf", "a change of data type"),
])  # fmt: skip
def test_what_a_graph_cannot_say_is_refused_with_its_place(name, said):
    with pytest.raises(CostmodelError, match=rf"{said}.*strange\.py:\d+"):
        realize(CASES[name]())


def test_what_python_does_to_a_tensor_is_refused():
    def hook(net, x):
        y = net.first(x)
        y.register_hook(lambda g: -g)
        return net.head(y)

    def sets(net, x):
        net.first.weight.requires_grad = False
        return net.head(net.first(x))

    for body, said in ((hook, "register_hook is not supported"), (sets, "to set requires_grad of a tensor")):
        module = made(body)
        with pytest.raises(CostmodelError, match=said):
            realize(module)
        assert module.first.weight.requires_grad


def test_a_function_of_ones_own_without_autograd_is_traced():
    class Quiet(Base):
        def head(self, x):
            with torch.no_grad():
                x = Swish.apply(x)
            return self.fc(x.mean((2, 3)))

    assert costmodel.estimate(Quiet(), "as_is", **SIZE).certainty.saved == CHECKED


def test_tensors_overlap_where_they_share_an_element():
    x = torch.zeros(2, 4, 3)
    assert overlap(x, x[:, 1]) and overlap(x[:, ::2], x[0, 2]) and overlap(x.view(-1), x.mT)
    assert not overlap(x[:, :2], x[:, 2:]) and not overlap(x[:, ::2], x[:, 1::2])


def test_every_answer_about_a_tensor_has_a_question():
    assert all(hasattr(torch.Tensor, name) for name in ASKED) and callable(followed)


def test_the_networks_fault_is_told_from_the_tracers():
    class Broken(Base):
        def __init__(self):
            super().__init__(nn.Sequential(nn.Identity(), Picky()))

    with pytest.raises(CostmodelError, match=r"tracing the network on .* ends in .*ValueError: no \(in extra\.1\)"):
        costmodel.load(Broken(), resolution=10)


class Picky(nn.Module):
    def forward(self, x):
        raise ValueError("no")


LOOKED_UP_BEFORE = Swish.apply


def test_a_function_of_ones_own_that_was_looked_up_before_is_seen_too():
    module = made(lambda net, x: net.head(LOOKED_UP_BEFORE(net.first(x))))
    with pytest.raises(CostmodelError, match="Swish, which has a backward of its own"):
        realize(module)
    frozen_before = made(lambda net, x: net.head(net.first(LOOKED_UP_BEFORE(x))))
    assert costmodel.estimate(frozen_before, "as_is", **SIZE).certainty.saved == CHECKED
