"""The amount of work, counted in calls of Python functions: the same on every machine, however busy it is."""

import sys
from collections import Counter

from deep import deep

import costmodel


def calls(run):
    """The number of calls of functions, written in Python or in C, while something runs."""
    found = Counter()
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: found.update([event]))
    try:
        run()
    finally:
        sys.setprofile(before)
    return found["call"] + found["c_call"]


def test_the_work_of_an_estimate_grows_linearly_with_the_blocks(spec_file):
    small, large = (costmodel.load(deep(spec_file, repeat)) for repeat in (20, 200))
    assert len(large.graph) > 9 * len(small.graph)
    few, many = (calls(lambda: costmodel.estimate(network).step_peak_bytes) for network in (small, large))
    assert many <= 10 * few


def test_the_work_of_reading_a_spec_grows_linearly_with_the_blocks(spec_file):
    few, many = (calls(lambda: costmodel.load(path)) for path in [deep(spec_file, repeat) for repeat in (20, 200)])
    assert many <= 10 * few


def test_the_work_of_a_document_and_of_every_layer_grows_linearly_with_the_blocks(spec_file):
    small, large = (costmodel.estimate(costmodel.load(deep(spec_file, repeat))) for repeat in (20, 200))
    few, many = (calls(lambda: (estimate.to_dict(), estimate.layers)) for estimate in (small, large))
    assert many <= 10 * few
