"""The arithmetic of oneDNN's scratch, part by part."""

import numpy as np

from costmodel.ops.conv import Conv2d
from costmodel.targets.onednn import in_onednn
from costmodel.targets.onednn_formulas import gather, steps_of, teams, thin, up


def test_small_single_images_and_products_on_one_thread_do_not_run_in_onednn():
    conv, product, grouped = Conv2d(8, 8, 3), Conv2d(8, 8, 1), Conv2d(8, 8, 3, groups=8)
    assert not in_onednn(conv, 1, 1, 2560) and in_onednn(conv, 1, 1, 2561)
    assert in_onednn(conv, 1, 2, 1)
    assert not in_onednn(product, 1, 15, 49) and in_onednn(product, 1, 16, 49) and in_onednn(product, 2, 2, 49)
    assert in_onednn(grouped, 1, 1, 1)


def test_multiples_and_jobs():
    assert [up(n, 16) for n in (0, 1, 16, 17)] == [0, 16, 16, 32]
    assert up(np.array([15, 33]), 16).tolist() == [16, 48]
    assert [thin(n, 4) for n in (3, 8, 9, 12, 7)] == [3, 4, 3, 3, 7]


def test_one_thread_shares_nothing():
    assert steps_of(1, 4, 4, 16, 9, True) == ((0, 1),)
    assert teams(1, 4, 100, 8, False) == 0
    assert gather(2, 0, 2**62, (1, 8, 8, 8, 8)) == 0


def test_more_positions_make_more_threads_share_images():
    steps = steps_of(4, 2, 2, 16, 9, False)
    positions, sharing = zip(*steps)
    assert positions[0] == 0 and list(positions) == sorted(positions) and list(sharing) == sorted(sharing)
    assert sharing[-1] == 4
