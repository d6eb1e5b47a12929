"""A watched training loop: its first step's cost is told, and nothing of the training changes."""

import copy
import pickle

import pytest
import torch
from owncode import Heads
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.modules import module as calls
from torch.optim import optimizer as optimizers
from torch.utils.checkpoint import checkpoint

import costmodel
from costmodel.frontends.modules.dry.kept import hooks_on
from costmodel.pytorch import measure, realize, watch
from costmodel.pytorch.beside import Comparison
from costmodel.pytorch.predicted_step import priced_as, without_hooks
from costmodel.pytorch.updates import optimizer_of
from costmodel.pytorch.watched_step import own_peak
from costmodel.step.optimizer import find

BATCH, RESOLUTION, CLASSES = 4, 16, 5
needs_to_know = pytest.mark.skipif(
    not hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"), reason="torch 2.4 does not tell which are on"
)


def network():
    layers = (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, CLASSES))


def batches(count):
    return [(torch.randn(BATCH, 3, RESOLUTION, RESOLUTION), torch.randint(0, CLASSES, (BATCH,))) for _ in range(count)]


def train(module, optimizer, data, loss_of=cross_entropy):
    for images, labels in data:
        optimizer.zero_grad()
        loss_of(module(images), labels).backward()
        optimizer.step()


class Told(list):
    """What was printed."""

    def __call__(self, text):
        self.append(text)


def sgd(module, **options):
    return torch.optim.SGD(module.parameters(), lr=0.1, **options)


def watched(module=None, optimizer=None, steps=2, loss_of=cross_entropy, **options):
    """The watch of a loop, after it."""
    module = network() if module is None else module
    found = watch(module, show=Told(), **options)
    train(module, optimizer or sgd(module), batches(steps), loss_of)
    assert_nothing_is_left()
    return found


def assert_nothing_is_left():
    assert not (calls._global_forward_hooks or calls._global_forward_pre_hooks)
    assert not (optimizers._global_optimizer_pre_hooks or optimizers._global_optimizer_post_hooks)
    assert hooks_on() is None
    assert not torch.autograd._profiler_enabled()


def test_a_plain_loop_does_what_was_predicted(capsys):
    module = network()
    watch(module)
    train(module, sgd(module), batches(3))
    lines = capsys.readouterr().out.splitlines()
    found = measure(module, BATCH, RESOLUTION, target="cpu,threads=1")
    assert lines[0].startswith(f"costmodel: step 1 of Sequential, batch {BATCH} at 16x16, as_is, sgd, cpu (")
    assert [line.split() for line in lines[2:4]] == [
        ["saved", "for", "backward", f"{found.saved_bytes:,}", f"{found.saved_bytes:,}", "equal"],
        ["peak", "of", "the", "step", f"{found.step_peak_bytes:,}", f"{found.step_peak_bytes:,}", "equal"],
    ]
    assert len(lines) == 5


def test_heads_that_no_loss_by_name_fits_are_told_in_whole_sentences():
    module, told = Heads(), Told()
    watch(module, show=told)
    adam = torch.optim.Adam(module.parameters())
    train(module, adam, batches(2), lambda heads, labels: cross_entropy(heads["kind"], labels % 4))
    assert told and not [text for text in told if "holds :" in text]


def test_the_training_is_bit_equal_and_nothing_is_left():
    data, results = batches(3), []
    for is_watched in (False, True):
        torch.manual_seed(1)
        module = network()
        optimizer = torch.optim.Adam(module.parameters())
        if is_watched:
            watch(module, show=Told())
        train(module, optimizer, data)
        gradients = [p.grad for p in module.parameters()]
        results.append([*module.state_dict().values(), *gradients, torch.get_rng_state()])
        assert "_optimizer_step_code" not in vars(optimizer)
        assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())
    assert all(map(torch.equal, *results))
    assert_nothing_is_left()


@pytest.mark.parametrize("kind, options, name", [
    (torch.optim.SGD, {"momentum": 0.9}, "momentum"), (torch.optim.Adam, {}, "adam"), (torch.optim.AdamW, {}, "adamw"),
    (torch.optim.Adam, {"foreach": True}, "adam,foreach"), (torch.optim.AdamW, {"fused": True}, "adamw,fused"),
    (torch.optim.RMSprop, {"foreach": False}, "rmsprop"), (torch.optim.RAdam, {}, "radam"),
])  # fmt: skip
def test_with_state_the_second_step_is_told_and_the_sixth_of_radam(kind, options, name):
    module = network()
    found = watched(module, kind(module.parameters(), lr=0.1, **options), 7)
    assert found.comparison.step == (6 if name == "radam" else 2) and found.comparison.holds
    assert found.comparison.peak_reasons == ()
    assert found.comparison.predicted.request.optimizer.name == name
    assert found.comparison.measured.peak_bytes == found.comparison.predicted.step_peak_bytes
    assert len(found.show) == 1


def test_what_the_loop_itself_holds_is_told_apart():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 50))
    optimizer = sgd(module, momentum=0.9)
    found = watch(module, show=Told())
    for images, labels in batches(2):
        output = module(images)
        loss = cross_entropy(output, labels)
        optimizer.zero_grad()  # after the forward pass: the last step's gradients are there until now
        loss.backward()
        optimizer.step()
    gradients, told = 4 * sum(p.numel() for p in module.parameters()), found.comparison
    assert told.measured.stale_bytes == gradients and told.measured.holds_output
    assert told.measured.peak_bytes == told.in_this_loop_bytes > told.predicted.step_peak_bytes
    assert told.holds and "that is all" in str(told) and "zero_grad()" in str(told)


def test_accumulated_gradients_are_there_before_the_step():
    module = network()
    optimizer, found = sgd(module, momentum=0.9), watch(module, show=Told())
    for number, (images, labels) in enumerate(batches(6)):
        cross_entropy(module(images), labels).backward()
        if number % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
    told = found.comparison
    assert told.step == 2 and told.measured.accumulates and told.measured.calls == 1
    assert told.predicted.request.accumulate == 2 and told.holds
    assert_nothing_is_left()


def test_another_loss_is_no_silent_match():
    told = watched(loss_of=lambda x, y: mse_loss(x, torch.nn.functional.one_hot(y, CLASSES).float())).comparison
    # mse_loss keeps its two operands; cross_entropy the log-probabilities, the labels and a number.
    assert told.measured.saved_bytes - told.predicted.saved_bytes == 4 * BATCH * CLASSES - 8 * BATCH - 4
    assert not told.holds
    assert "costmodel prices cross_entropy(module(x), y); what may differ here: the loss, more work" in str(told)


def test_several_calls_in_one_step_are_said():
    module = network()
    told = watched(module, loss_of=lambda x, y: cross_entropy(x + module(batches(1)[0][0]), y)).comparison
    assert told.measured.calls == 2 and not told.holds and "the other 1 calls of the module" in str(told)


def test_a_loop_under_autocast_is_priced_under_autocast():
    module, data, told = network(), batches(1), Told()
    optimizer, found = sgd(module), watch(module, show=told)
    for images, labels in data:
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(module(images), labels)
        loss.backward()
        optimizer.step()
    priced = found.comparison.predicted
    assert priced.request.amp.name == "bfloat16" and "autocast in bfloat16" in told[0]
    assert found.comparison.measured.saved_bytes == priced.saved_bytes
    assert found.comparison.measured.peak_bytes >= priced.step_peak_bytes  # kernels in 16 bits have no rule
    assert_nothing_is_left()


def test_autocast_is_said():
    module, data = network(), batches(1)
    found = watch(module, show=Told())
    with torch.autocast("cpu", torch.bfloat16):
        train(module, sgd(module), data)
    said = str(found.comparison)  # where kernels of 16 bits are modelled, the peak is equal
    assert "autocast in bfloat16" in said and (found.comparison.holds or "differ here: autocast" in said)


@pytest.mark.parametrize("body, reason", [
    (lambda x: x * x.mean().item(), "item asks for"), (lambda x: torch.fft.fft2(x).real, "unknown op"),
])  # fmt: skip
def test_a_module_that_cannot_be_traced_trains_on(body, reason):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(body(x))

    told = watched(Odd())
    assert told.comparison.predicted is None and told.comparison.measured.saved_bytes > 0
    assert f"not predicted: {reason}" in told.show[0] and len(told.show[0].splitlines()) <= 6


def test_an_error_in_the_watch_is_one_line(monkeypatch):
    monkeypatch.setattr("costmodel.pytorch.watching.compare", lambda *_: 1 / 0)
    assert watched().show == ["costmodel: not watched any longer: ZeroDivisionError: division by zero"]
    monkeypatch.setattr("costmodel.pytorch.watching.WatchedStep", None)
    assert watched().show == ["costmodel: not watched any longer: TypeError: 'NoneType' object is not callable"]


def test_an_error_in_the_network_is_the_loops_own():
    module, data = network(), batches(1)
    found = watch(module, show=Told())
    with pytest.raises(RuntimeError, match="Expected"):
        module(torch.randn(2, 3, 1, 1, 1, 1))
    train(module, sgd(module), data)
    assert found.comparison.holds
    assert_nothing_is_left()


@needs_to_know
def test_saved_tensor_hooks_of_the_loop_stay_its_own():
    module, (images, labels), packed = network(), batches(1)[0], []
    found, optimizer = watch(module, show=Told()), sgd(module)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: packed.append(x) or x, lambda x: x):
        loss = cross_entropy(module(images), labels)
    many = len(packed)
    cross_entropy(torch.randn(2, 3, requires_grad=True), labels[:2] % 3)
    loss.backward()
    optimizer.step()
    assert many == len(packed) > 5  # none came after the loop's hooks were off
    assert found.comparison.measured.saved_bytes is None and "other saved-tensor hooks are on" in found.show[0]
    assert_nothing_is_left()


@needs_to_know
def test_saved_tensor_hooks_that_come_later_stay_on():
    module, (images, labels), packed = network(), batches(1)[0], []
    found, optimizer = watch(module, show=Told()), sgd(module)
    result = module(images)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: packed.append(x) or x, lambda x: x):
        cross_entropy(result, labels).backward()
        optimizer.step()
        torch.randn(3, requires_grad=True).exp()
        assert packed.pop().shape == (3,)
    torch.randn(4, requires_grad=True).exp()
    assert packed[-1].shape != (4,) and len(found.show) == 1
    torch._C._autograd._pop_saved_tensors_default_hooks()  # the watch's own could not be taken off: idle ones
    assert_nothing_is_left()


def test_a_profiler_of_the_loop_stays_its_own():
    module, data = network(), batches(1)
    found, optimizer = watch(module, show=Told()), sgd(module)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        train(module, optimizer, data)
    assert any(event.key == "aten::convolution" for event in profiler.key_averages())
    assert found.comparison.measured.peak_bytes is None and "another profiler is on" in found.show[0]


def test_images_that_are_a_piece_of_a_data_set_count_alone():
    module = network()
    many = torch.randn(64, 3, RESOLUTION, RESOLUTION)
    found, optimizer = watch(module, show=Told()), sgd(module)
    train(module, optimizer, [(many[:BATCH], batches(1)[0][1])])
    assert found.comparison.holds


def test_checkpointed_parts_are_seen():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rest = nn.Conv2d(3, 3, 1), network()

        def forward(self, x):
            return checkpoint(self.rest, self.first(x), use_reentrant=False)

    told = watched(Twice()).comparison
    images = 4 * BATCH * 3 * RESOLUTION**2
    assert told.measured.saved_bytes == 2 * images + 5056 + (4 * BATCH * CLASSES + 8 * BATCH + 4)  # a random state, too


def test_an_estimate_of_a_lean_module_is_held_against_it():
    cost = costmodel.estimate("mobilenet_v3_small", "bias", BATCH, 32, "lean")
    module = realize("mobilenet_v3_small", "bias", "lean")
    found = watch(module, cost, show=Told())
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    train(module, optimizer, [(torch.randn(BATCH, 3, 32, 32), torch.zeros(BATCH, dtype=torch.int64))])
    assert found.comparison.predicted is cost and found.comparison.holds
    found = watched(network(), estimate=cost)
    assert "the estimate is for images [4, 3, 32, 32]" in found.show[0]


def test_part_of_a_watched_module_is_priced_alone():
    class Learner(nn.Module):
        def __init__(self):
            super().__init__()
            self.teacher, self.net, self.loss = network().requires_grad_(False), network(), nn.CrossEntropyLoss()

    learner = Learner()
    found = watch(learner, show=Told())
    train(learner.net, sgd(learner.net), batches(1), learner.loss)
    assert found.comparison.holds and found.comparison.name == "Sequential"


def test_without_a_whole_step_it_says_so():
    module, told = network(), Told()
    with watch(module, show=told), torch.no_grad():
        module(batches(1)[0][0])
    assert told == ["costmodel: 0 training steps were seen (forward, backward, update); it takes 1"]
    for kind in (torch.optim.Adam, torch.optim.RAdam):
        with watch(module, show=told):
            train(module, kind(module.parameters()), batches(1))
    assert [line.partition(" (")[0] + line.partition(");")[2] for line in told[1:]] == [
        "costmodel: 1 training steps were seen it takes 2",
        "costmodel: 1 training steps were seen it takes 6",
    ]
    assert_nothing_is_left()


def test_a_second_watch_takes_the_place_of_the_first():
    module = network()
    first, second = watch(module, show=Told()), watch(module, show=Told())
    module(batches(1)[0][0])
    train(module, sgd(module), batches(1))
    assert (len(first.show), len(second.show)) == (0, 1)
    assert_nothing_is_left()


def test_a_watched_module_can_be_copied_and_pickled():
    module = network()
    found = watch(module, show=Told())
    module(batches(1)[0][0])
    copy.deepcopy(module), pickle.dumps(module)
    found.remove()
    assert_nothing_is_left()


def test_without_the_peak_no_profiler_is_on():
    told = watched(peak=False).comparison
    assert told.measured.peak_bytes is None and told.holds


def test_hooks_of_the_module_run_in_training_alone():
    module, seen = network(), []
    module[0].register_forward_hook(lambda _, __, y: seen.append(y.device.type))
    assert watched(module, steps=3).comparison.holds
    assert seen == ["cpu"] * 3
    bare = without_hooks(module)
    assert bare[0] is not module[0] and bare[0].weight is module[0].weight


def test_which_optimizers_are_priced():
    parameters = [nn.Parameter(torch.zeros(3))]
    assert priced_as(torch.optim.SGD(parameters, 0.3)) == ("sgd", [])
    assert priced_as(torch.optim.SGD(parameters, 0.3, momentum=0.5, nesterov=True)) == ("momentum", ["nesterov=True"])
    assert priced_as(torch.optim.AdamW(parameters, weight_decay=0.3, betas=(0.8, 0.9))) == ("adamw", [])
    assert priced_as(torch.optim.Adam(parameters, weight_decay=0.3)) == ("adam", ["weight_decay=0.3"])
    assert priced_as(torch.optim.RMSprop(parameters, alpha=0.9, foreach=True)) == ("rmsprop,foreach", [])
    assert priced_as(torch.optim.Adagrad(parameters, fused=True, lr_decay=0.1)) == ("adagrad,fused", [])
    assert priced_as(torch.optim.RAdam(parameters, betas=(0.9, 0.5))) == ("radam", ["betas=(0.9, 0.5)"])
    groups = [{"params": parameters}, {"params": [nn.Parameter(torch.zeros(2))], "lr": 0.1}]
    assert priced_as(torch.optim.Adam(groups)) == ("adam", ["2 groups of parameters"])
    assert priced_as(torch.optim.RMSprop(parameters, momentum=0.9)) == (None, [])
    told = watched(module := network(), torch.optim.RMSprop(module.parameters(), momentum=0.9), 3).comparison
    assert told.peak_reasons == ("RMSprop's own memory",) and told.step == 2


def test_the_own_peak_leaves_out_what_was_there_before():
    assert own_peak([(1, 10), (9, -50), (2, 20), (1, -10), (3, 5)], {}) == 30
    assert own_peak([(1, 10), (7, -4), (2, 20)], {7: 4}) == 30
    assert own_peak([(1, 10), (2, 20), (7, -4)], {7: 4}) == 34
    assert isinstance(watched().comparison, Comparison)


def test_a_loop_that_updates_in_the_backward_pass_is_not_watched_and_says_so():
    said, module = [], nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    updates = optimizer_of(find("sgd,in_place"), [*module.parameters()])
    costmodel.pytorch.watch(module, show=said.append)
    for _ in range(3):
        module(torch.randn(2, 3, 8, 8)).sum().backward()
        updates.step()
    assert len(said) == 1 and "a hook updates parameters in the backward pass" in said[0]
    with torch.profiler.profile():  # none is left on
        pass
    assert measure(module, 2, 8).saved_bytes > 0
