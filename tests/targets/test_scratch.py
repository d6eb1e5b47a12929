"""The arithmetic of oneDNN's scratch, part by part."""

import numpy as np

from costmodel.ops.conv import Conv2d
from costmodel.targets import parse
from costmodel.targets.onednn_formulas import BOOKED, PAGE, gather, teams, thin, up
from costmodel.targets.onednn_levels import in_onednn
from costmodel.targets.onednn_split import Split, pixels_of_a_part, sharing
from costmodel.targets.setting import Setting


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


#: 48 -> 16 channels, 3x3, stride 2: three blocks of inputs, one of outputs.
WINDOW = Split(2, 1, 3, 1, 16, 9, (2, 2), product=False, by_rows=True)


def test_one_thread_shares_nothing():
    assert sharing(WINDOW._replace(threads=1), (8, 14, 14, 7, 7)) == 1
    assert sharing(WINDOW._replace(groups=4), (8, 14, 14, 7, 7)) == 1  # fewer threads than groups
    assert teams(1, 4, 100, 8, False) == 0
    assert teams(2, 4, 100, 0, False) == 0  # of no images
    assert gather(2, 0, 2**62, (1, 8, 8, 8, 8)) == 0


def test_threads_share_images_where_they_have_less_to_compute():
    """Two threads cannot share three blocks evenly: half of the images each is less than two blocks of three.

    With one image, and too few rows to share, they share the blocks.
    """
    assert sharing(WINDOW, (2, 14, 14, 7, 7)) == 2 and sharing(WINDOW, (1, 14, 14, 7, 7)) == 1
    assert sharing(WINDOW, (1, 40, 40, 20, 20)) == 2  # two parts of at least 9 rows
    assert sharing(WINDOW._replace(by_rows=False), (1, 40, 40, 20, 20)) == 1
    # Two blocks on few positions: each thread takes one, and touches half of the weights.
    assert sharing(WINDOW._replace(inputs=2), (2, 14, 14, 7, 7)) == 1
    assert sharing(WINDOW._replace(inputs=2), (64, 80, 80, 40, 40)) == 2


def test_own_sums_of_a_thread():
    """The second thread's sums of 16 x 48 x 9 weights and of 16 biases, and the threads' meeting point."""
    setting = Setting(parse("cpu,threads=2,isa=avx512"), 4, False, ("weight",))
    conv, x, y = Conv2d(48, 16, 3, 2, 1), (2, 48, 14, 14), (2, 16, 7, 7)
    own = 4 * (16 * 48 * 9 + 16) + BOOKED + 2 * PAGE
    copies = 4 * (2 * 48 * 14 * 14 + 2 * 16 * 7 * 7)
    assert conv.scratch(setting, y, x).backward == copies + own  # beside the gradient itself


def test_products_are_shared_by_parts_of_an_image():
    assert [pixels_of_a_part(*one) for one in ((7, 7), (14, 14), (56, 56), (17, 17), (1, 5), (19, 7))] == [
        7, 14, 16, 17, 5, 7,
    ]  # fmt: skip
    product = Split(2, 1, 1, 1, 16, 1, (1, 1), product=True, by_rows=True)
    # 8 parts of 7 pixels: each thread takes 4, and 12 times 16 x 16 weights are less than what it saves.
    assert sharing(product, (8, 7, 7, 7, 7)) == 2 and sharing(product, (1, 1, 5, 1, 5)) == 1


def test_a_grid_is_its_cells():
    sizes = [(n, 2 * side, 2 * side, side, side) for n in (1, 2, 5) for side in (4, 9, 20)]
    grid = np.array([1, 2, 5])[None, :], *(np.array([[4 * f], [9 * f], [20 * f]]) for f in (2, 2, 1, 1))
    for split in (WINDOW, WINDOW._replace(threads=6, outputs=5), WINDOW._replace(product=True)):
        found = sharing(split, grid)
        assert [int(found[i, k]) for k in range(3) for i in range(3)] == [sharing(split, one) for one in sizes]
