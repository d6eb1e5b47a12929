"""Random networks under autocast: each estimate equals a real run, byte for byte and FLOP for FLOP."""

from costs import assert_costs_are_equal
from hypothesis import note, reject
from networks import STRATEGIES, loaded, on_random_networks

import costmodel
from costmodel.errors import CostmodelError
from costmodel.pytorch import measure, realize
from costmodel.step.autocast import Undescribed


def equals_a_real_run(spec, strategy, batch):
    network = loaded(spec)
    strategy = strategy.replace("all", str(len(network.graph.blocks)))
    note(f"{network}\n{strategy}, batch {batch}")
    try:
        estimate = costmodel.estimate(network, strategy, batch, target="none", amp="bfloat16")
    except Undescribed:  # a scale in place on fewer bits, say
        reject()
    except CostmodelError as error:
        assert "batch statistics of one value per channel" in str(error)
        return
    module = realize(network, strategy)
    real = measure(module, batch, network.resolution, target="cpu,threads=1", amp="bfloat16")
    assert_costs_are_equal(estimate, estimate, real)


test_blocks, test_nodes, test_many_of_blocks, test_many_of_nodes = on_random_networks(equals_a_real_run, STRATEGIES)
