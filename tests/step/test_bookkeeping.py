"""What a step is put together from: storages with holders, formulas remembered once, what is there before it."""

import numpy as np

import costmodel
from costmodel.graph.inputs import Input
from costmodel.graph.op import Extra
from costmodel.ops.conv import Conv2d
from costmodel.step.backward import Backward
from costmodel.step.compile import compile
from costmodel.step.events import SCRATCH
from costmodel.step.forward import Forward
from costmodel.step.memo import Formulas, Memo
from costmodel.step.resident import inputs_bytes, resident
from costmodel.step.storages import Storages


def test_a_storage_goes_with_its_last_holder():
    storages = Storages()
    first, other = storages.new(5, "value", "made"), storages.new(6, "value", "made")
    assert storages.hold(first) == first and storages.is_shared(first) and not storages.is_shared(other)
    storages.drop(first, "read")
    assert [event.sign for event in storages.events] == [1, 1]
    storages.drop(first, "read again")
    storages.passing(7, "scratch")
    storages.drop(storages.hold(None), "not the step's own")
    assert [(event.slot, event.sign, event.why) for event in storages.events[2:]] == [
        (5, -1, "read again"), (7, 1, "scratch"), (7, -1, "scratch")]  # fmt: skip
    assert storages.events[-1].category == SCRATCH


def test_a_memo_asks_equal_ops_once_and_gives_what_they_answer():
    class Counted(Conv2d):
        asked = 0

        def shape(self, x):
            Counted.asked += 1
            return super().shape(x)

    memo, plain = Memo(), Formulas()
    images = memo.images(2, (3, 9, 9))
    assert memo.images(2, (3, 9, 9)) is images and images == plain.images(2, (3, 9, 9)) == (2, 3, 9, 9)
    answers = [memo.shape(Counted(3, 8, 3), images) for _ in range(4)]
    assert Counted.asked == 1 and all(answer is answers[0] for answer in answers)
    op, y = Conv2d(3, 8, 3), answers[0]
    assert memo.shape(op, images) == plain.shape(op, images) == (2, 8, 7, 7)
    assert memo.work(op, y, images) == plain.work(op, y, images)
    assert memo.nbytes(y, 32) == plain.nbytes(y, 32) == 4 * 2 * 8 * 7 * 7
    assert memo.nbytes(y, 1) == 98


def test_a_memo_counts_the_bytes_of_the_arrays_that_it_keeps():
    memo = Memo()
    side = np.arange(8, 16, dtype=np.int64)[:, None]
    y = memo.shape(Conv2d(3, 8, 3), memo.images(2, (3, side, side)))
    assert memo.bytes == sum(part.nbytes for part in y if isinstance(part, np.ndarray)) == 2 * 8 * 8


def test_what_is_there_before_a_step():
    request = costmodel.estimate("mobilenet_v2", batch=2, optimizer="adam", accumulate=2).request
    found = resident([((8, 3, 3, 3), True), ((8,), False), ((5,), True)], [Extra((8,)), Extra((), 64)], request)
    assert found == (4 * (216 + 8 + 5), 32 + 8, 4 * 221, 2 * 4 * 221 + 2 * 4, True)
    assert found.beside_parameters == 40 + 884 + 1776
    given = (Input((3, 8, 8)), Input((7,), "int64"))
    assert inputs_bytes((2, 3, 8, 8), given, request) == 1536 + 2 * 7 * 8


def test_a_step_that_trains_nothing_has_no_backward_pass(monkeypatch):
    ran = []

    def watched(run):
        return lambda self, *arguments: (ran.append(type(self).__name__), run(self, *arguments))[1]

    for cls in (Forward, Backward):
        monkeypatch.setattr(cls, "run", watched(cls.run))
    for strategy, passes in (("full", ["Forward", "Backward"]), ("inference", ["Forward"])):
        ran.clear()
        compile.cache_clear()
        estimate = costmodel.estimate("mobilenet_v2", strategy, batch=2, resolution=33)
        assert estimate.memory.timeline.events and ran == passes
