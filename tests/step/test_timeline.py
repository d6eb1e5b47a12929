"""The timeline of a step: each storage is allocated once and released at most once; the rest is what a step leaves."""

import numpy as np
import pytest
from hypothesis import given, settings
from networks import STRATEGIES, block_networks, loaded, node_networks

import costmodel
from costmodel.graph.graph import Graph, Node
from costmodel.graph.inputs import images
from costmodel.graph.network import Network
from costmodel.graph.op import Result, build
from costmodel.step.events import FORWARD, SAVED, Event
from costmodel.step.slots import Slots
from costmodel.step.timeline import timeline_of
from costmodel.step.update import NUMBERS


def network(*nodes, **more):
    """A network of nodes (name, kind, fields[, inputs]) on 3x8x8 images; without inputs a node reads the one before."""
    made, before = [], "input"
    for name, kind, fields, *inputs in nodes:
        made.append(Node(name, build(kind, fields), tuple(*inputs) or (before,)))
        before = name
    return Network("tiny", Graph(tuple(made), **more), images(8))


def check_balance(estimate):
    """Check that each storage is allocated once and later released at most once, and that no level is below zero."""
    memory, seen, gone = estimate.memory, {}, set()
    for event in memory.timeline.events:
        if event.sign > 0:
            assert event.storage not in seen
            seen[event.storage] = event.slot
        else:
            assert event.storage in seen and event.storage not in gone and seen[event.storage] == event.slot
            gone.add(event.storage)
    assert (estimate.levels >= 0).all()
    live = [int(memory.sizes[slot]) for storage, slot in seen.items() if storage not in gone]
    assert sum(live) == estimate.left_bytes
    assert sum(estimate.at_peak.values()) == estimate.step_peak_bytes
    check_what_is_saved(estimate)


def check_what_is_saved(estimate):
    """Check that after the forward pass as much is allocated as "saved" as is saved, and nothing after the step."""
    nodes, timeline, sizes = estimate.graph.nodes, estimate.timeline, estimate.slot_sizes
    outside = sum(  # the images and the targets are there before the step
        size
        for one, size in zip(estimate.kept, estimate.kept_bytes)
        if one.value == 0 or one.value and nodes[one.value - 1].op.result is Result.GIVEN
    )
    changes = [event.sign * int(sizes[event.slot]) * (event.category == SAVED) for event in timeline.events]
    assert sum(changes[: timeline.after_forward]) == estimate.saved_bytes - outside
    if estimate.graph.wants_gradient[-1]:
        assert sum(changes) == 0


@pytest.mark.one_in(4)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adagrad,foreach", "radam"])
@pytest.mark.parametrize("convention", ["torch", "lean"])
@pytest.mark.parametrize(
    "strategy",
    [
        "full",
        "norm+last",
        "bias",
        "blocks:3",
        "mobiletl:3",
        "last",
        "tinytl-lb",
        "blocks:5,checkpoint=blocks",
        "bias,checkpoint=blocks",
    ],
)
def test_every_storage_is_released_once_and_the_gradients_and_the_loss_stay(strategy, convention, optimizer):
    estimate = costmodel.estimate(
        "efficientnet_b0", strategy, batch=2, resolution=65, convention=convention, optimizer=optimizer, target="none"
    )
    check_balance(estimate)
    assert estimate.left_bytes == estimate.memory_bytes["gradients"] + 4


def test_inference_leaves_its_logits():
    estimate = costmodel.estimate("mobilenet_v2", "inference", batch=2, resolution=65)
    check_balance(estimate)
    assert estimate.left_bytes == 4 * 2 * 1000


@settings(max_examples=60, deadline=None, derandomize=True)
@given(block_networks() | node_networks(), STRATEGIES)
def test_random_networks_balance(spec, strategy):
    net = loaded(spec)
    for convention in ("torch", "lean"):
        strategy = strategy.replace("all", str(len(net.graph.blocks)))
        check_balance(costmodel.estimate(net, strategy, batch=3, target="none", convention=convention))


def test_a_peak_by_hand():
    # Batch 1, 3x8x8 (768 bytes, resident). conv 3 -> 4 with frozen weight: y of 4*8*8*4 = 1024 bytes. mean: 16 bytes.
    # linear 4 -> 2: logits 8 bytes, its input (16) kept. loss 4, log-probabilities 8, total weight 4.
    net = network(
        ("conv", "conv2d", {"in_channels": 3, "out_channels": 4, "kernel": 3, "padding": 1}),
        ("mean", "mean", {}),
        ("fc", "linear", {"in_features": 4, "out_features": 2}),
        classifier="fc",
    )
    estimate = costmodel.estimate(net, "last", batch=1, target="none")
    # The forward pass peaks with the map and its mean: 1024 + 16.
    assert estimate.step_peak_bytes == 1040 and estimate.peak_at == {"phase": "forward", "node": "mean"}
    after_forward = estimate.levels[estimate.memory.timeline.after_forward - 1]
    assert after_forward == 16 + 8 + 4 + 4  # the linear layer's input, log-probabilities, total weight, the loss
    assert estimate.saved_bytes == 16 + 8 + 4 + 8  # the same without the loss, and the targets, which were given
    # What stays: gradients of 4 * 2 + 2 numbers, and the loss.
    assert estimate.left_bytes == 4 * 10 + 4
    resident = 4 * (3 * 4 * 9 + 4 * 2 + 2) + 768 + 8  # parameters, the image, the target
    assert estimate.peak_bytes == resident + 1040


def test_a_gradient_that_arrives_twice_at_a_sum_is_added_out_of_place():
    # s + (s + relu(s)): s receives the same gradient tensor twice. It must not be overwritten, so the sum is a new one.
    net = network(
        ("conv", "conv2d", {"in_channels": 3, "out_channels": 3, "kernel": 1}),
        ("relu", "relu", {}),
        ("inner", "add", {}, ("conv", "relu")),
        ("outer", "add", {}, ("conv", "inner")),
        ("mean", "mean", {}),
        ("fc", "linear", {"in_features": 3, "out_features": 2}),
        classifier="fc",
    )
    estimate = costmodel.estimate(net, "full", batch=1, target="none")
    sums = [e for e in estimate.memory.timeline.events if e.why == "a sum"]
    assert len(sums) == 1 and estimate.node_name(sums[0]) == "inner"


def test_the_update_of_adam_holds_two_tensors_of_a_parameter_and_the_one_before():
    net = network(("flat", "flatten", {}), ("fc", "linear", {"in_features": 192, "out_features": 5}), classifier="fc")
    estimate = costmodel.estimate(net, "full", batch=1, optimizer="adam", target="none")
    update = [e for e in estimate.memory.timeline.events if e.phase == "update"]
    level, highest = 0, 0
    for event in update:
        level += event.sign * int(estimate.memory.sizes[event.slot])
        highest = max(highest, level)
    # weight: root, quotient and the divisor, 2 * 3840 + 8; then bias beside the weight's quotient: 3840 + 2 * 20 + 8.
    assert (highest, level) == (2 * 4 * 192 * 5 + 8, 0)
    assert estimate.memory_bytes["optimizer"] == 2 * 4 * (192 * 5 + 5) + 4 * 2


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_earlier_gradients_are_resident_under_accumulation(name):
    once, twice = (
        costmodel.estimate(name, "full", batch=2, resolution=65, accumulate=n, target="none") for n in (1, 3)
    )
    gradients = once.memory_bytes["gradients"]
    before_once, before_twice = (e.peak_bytes - e.step_peak_bytes for e in (once, twice))
    assert before_twice - before_once == gradients
    assert twice.left_bytes == 4  # each gradient was added to the one that was there


def test_cuda_rounds_every_block_up_to_512_bytes():
    tensors, cuda = (
        costmodel.estimate("mcunet_5fps", "full", batch=3, resolution=65, target=t) for t in ("none", "cuda")
    )
    rounded = -(-tensors.memory.sizes // 512) * 512
    rounded[[cuda.memory.timeline.slots.number(name) for name in NUMBERS]] = 0  # Python's numbers are on the CPU
    assert np.array_equal(cuda.memory.sizes, rounded)
    assert cuda.step_peak_bytes >= tensors.step_peak_bytes


def test_levels_counts_and_tops_of_five_events_by_hand():
    """Slot 0 (5 bytes) is allocated twice, slot 1 (7 bytes) between; tops are allocations that no other one follows."""
    slots = Slots(values=2, kept=0, parameters=0, nodes=0, reruns=0)
    steps = [(0, 1), (1, 1), (1, -1), (0, 1), (0, -1)]
    events = [Event(FORWARD, 0, slot, sign, k, "activations", "") for k, (slot, sign) in enumerate(steps)]
    timeline = timeline_of(events, slots, after_forward=5)
    assert timeline.levels(np.array([5, 7, *[0] * len(NUMBERS), 0, 0])).tolist() == [5, 12, 5, 10, 5]
    assert timeline.live_count(0).tolist() == [1, 1, 1, 2, 1]
    assert timeline.tops.tolist() == [1, 3]
