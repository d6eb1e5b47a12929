"""The slots of a step: one class numbers and fills them, so the order of their groups does not matter."""

import pytest

import costmodel
from costmodel.step.compile import compile
from costmodel.step.slots import Slots
from costmodel.step.update import NUMBERS


def test_every_number_stands_where_its_size_is_filled_in():
    slots = Slots(values=3, kept=2, parameters=1, nodes=2, reruns=1, sliced=1, resized=[1], dropped=[1])
    filled = slots.filled(
        {
            "values": ["v0", "v1", "v2"],
            "later": ["second v1", "last v1"],
            "kept": ["k0", "k1"],
            "parameters": ["p0"],
            "forward": ["f0", "f1"],
            "later_forward": ["second f0", "last f0"],
            "backward": ["b0", "b1"],
            "after": ["a0", "a1"],
            "again": ["m1"],
            "stopped": ["s0"],
            "item": ["i"],
            "numbers": [f"n{k}" for k in range(len(NUMBERS))],
            "whole": ["w"],
            "storages": ["r1"],
        }
    )
    assert [filled[slots.value(v)] for v in range(3)] == ["v0", "v1", "v2"]
    assert [filled[slots.output(i)] for i in range(2)] == ["v1", "r1"] and filled[slots.storage(1)] == "r1"
    assert [filled[slots.kept(k)] for k in range(2)] == ["k0", "k1"] and filled[slots.parameter(0)] == "p0"
    assert [filled[slots.forward(i)] for i in range(2)] == ["f0", "f1"]
    assert [filled[slots.value(1, part)] for part in (1, 2)] == ["second v1", "last v1"]
    assert [filled[slots.forward(0, part)] for part in (1, 2)] == ["second f0", "last f0"]
    assert [filled[slots.backward(i)] for i in range(2)] == ["b0", "b1"]
    assert [filled[slots.after(i)] for i in range(2)] == ["a0", "a1"] and filled[slots.stopped(0)] == "s0"
    assert filled[slots.again(1)] == "m1"
    assert [filled[n] for n in (slots.item, slots.whole)] == ["i", "w"]
    assert [filled[slots.number(name)] for name in NUMBERS] == [f"n{k}" for k in range(len(NUMBERS))]
    inside = ["f0", "f1", "second f0", "last f0", "b0", "b1", "a0", "a1", "m1", "s0"]
    assert [filled[n] for n in slots.scratch] == inside
    assert len(set(filled)) == len(filled)


def test_a_group_of_another_length_is_refused():
    slots = Slots(values=1, kept=0, parameters=0, nodes=0, reruns=0)
    sizes = dict.fromkeys(slots.counts, [])
    with pytest.raises(ValueError, match="'values': 1"):
        slots.filled({**sizes, "item": [1], "numbers": [1] * len(NUMBERS), "whole": [1]})


def test_another_order_of_the_groups_gives_the_same_step(monkeypatch):
    def step(classes):
        network = costmodel.load("mobilenet_v3_small", classes=classes)
        estimate = costmodel.estimate(network, "blocks:3,checkpoint=blocks", batch=2, optimizer="adam")
        return estimate.memory.timeline.slots, estimate.levels.tolist(), estimate.at_peak

    slots, *before = step(7)
    scratch = ("forward", "later_forward", "backward", "after", "again", "stopped")
    others = [name for name in Slots.GROUPS if name not in scratch]
    monkeypatch.setattr(Slots, "GROUPS", (*others[::-1], *scratch))
    compile.cache_clear()
    reordered, *after = step(7)
    assert reordered.value(0) != slots.value(0) and after == before
