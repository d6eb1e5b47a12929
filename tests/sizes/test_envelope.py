"""The upper envelope, against the largest of the lines at each batch."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.sizes.by_batch import Batches
from costmodel.sizes.envelope import envelope


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_the_envelope_is_the_largest_line_at_every_batch(data):
    batches = Batches(sorted(data.draw(st.sets(st.integers(1, 60), min_size=2, max_size=12))))
    count, rows = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    numbers = st.lists(st.integers(-40, 40), min_size=2 * count * rows, max_size=2 * count * rows)
    lines = np.array(data.draw(numbers), dtype=np.int64).reshape(count, 2, rows)
    by_hand = (lines[:, 0, :, None] + lines[:, 1, :, None] * batches.places).max(axis=0)
    assert np.array_equal(envelope(lines, batches), by_hand)


def test_parallel_and_crossing_lines():
    batches = Batches([1, 2, 3, 10])
    lines = np.array([[[0], [4]], [[6], [2]], [[5], [2]], [[9], [0]]], dtype=np.int64)
    assert envelope(lines, batches).tolist() == [[max(4 * b, 6 + 2 * b, 9) for b in batches.places.tolist()]]
