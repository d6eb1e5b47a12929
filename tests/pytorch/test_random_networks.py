"""Random networks: each estimate equals a real run, byte for byte and FLOP for FLOP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import FAST, SLOW, STRATEGIES, assert_estimate_equals_a_real_run, block_networks, node_networks


@FAST
@given(block_networks(), STRATEGIES, st.integers(1, 3))
def test_networks_of_blocks(spec, strategy, batch):
    assert_estimate_equals_a_real_run(spec, strategy, batch)


@FAST
@given(node_networks(), STRATEGIES, st.integers(1, 3))
def test_networks_of_nodes(spec, strategy, batch):
    assert_estimate_equals_a_real_run(spec, strategy, batch)


@pytest.mark.slow
@SLOW
@given(block_networks(), STRATEGIES, st.integers(1, 3))
def test_many_networks_of_blocks(spec, strategy, batch):
    assert_estimate_equals_a_real_run(spec, strategy, batch)


@pytest.mark.slow
@SLOW
@given(node_networks(), STRATEGIES, st.integers(1, 3))
def test_many_networks_of_nodes(spec, strategy, batch):
    assert_estimate_equals_a_real_run(spec, strategy, batch)
