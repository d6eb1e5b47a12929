"""Random networks: each estimate equals a real run, byte for byte and FLOP for FLOP."""

from networks import STRATEGIES, assert_estimate_equals_a_real_run, on_random_networks

test_blocks, test_nodes, test_many_of_blocks, test_many_of_nodes = on_random_networks(
    assert_estimate_equals_a_real_run, STRATEGIES
)
