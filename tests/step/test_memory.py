"""The frozen prefix on slices of the batch: which sizes the slices have."""

import numpy as np
import pytest

from costmodel import load
from costmodel.api import request
from costmodel.sizes.by_batch import Batches, dense
from costmodel.sizes.size import Uneven
from costmodel.step.memo import Formulas
from costmodel.step.memory import slices_of
from costmodel.step.shapes import shapes_of
from costmodel.strategies import apply

NETWORK = load("mcunet_5fps")


def images_of(batch, slices):
    """Images in the first, the second and the last slice."""
    graph = apply(f"last,prefix_slices={slices}", NETWORK.graph)
    asked = request(NETWORK, "last", 1)[1]._replace(batch=batch)
    shapes = shapes_of(graph, (batch, 3, 64, 64))
    return [shape[0][0] for shape in slices_of(graph, shapes, asked, Formulas())]


@pytest.mark.parametrize("batch", range(2, 30))
@pytest.mark.parametrize("slices", [2, 3, 4, 8])
def test_slices_are_cut_as_torch_splits_a_batch(batch, slices):
    sizes = [min(-(-batch // slices), batch - start) for start in range(0, batch, -(-batch // slices))]
    assert images_of(batch, slices) == [sizes[0], sizes[1], sizes[-1]]


def test_one_image_and_one_slice_are_not_cut():
    assert images_of(1, 4) == [] and images_of(9, 1) == []


def test_many_batches_at_once_have_the_slices_of_each():
    batches = [8, 16, 24]
    found = [np.ravel(dense(size)).tolist() for size in images_of(Batches(batches).size, 4)]
    assert found == [[2, 4, 6]] * 3
    with pytest.raises(Uneven):  # of 4 slices 1 image has one, 2 images have two
        images_of(Batches([1, 2, 3]).size, 4)
