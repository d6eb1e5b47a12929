"""Integers of other libraries, wherever the Python API takes an integer."""

import json

import numpy as np
import pytest

import costmodel
from costmodel.pytorch import measure, realize
from costmodel.sizes.size import as_int


def test_integers_of_numpy_are_integers():
    assert type(as_int(np.int64(3))) is int and as_int(np.uint8(7)) == 7
    for other in (True, np.bool_(True), 2.0, "2", None):
        assert as_int(other) is other


def test_the_api_takes_them():
    two = np.int64(2)
    estimate = costmodel.estimate("mcunet_5fps", batch=two, resolution=np.int32(64), accumulate=np.uint8(1))
    assert json.dumps(estimate.to_dict()) == json.dumps(
        costmodel.estimate("mcunet_5fps", batch=2, resolution=64).to_dict()
    )
    assert costmodel.load("mcunet_5fps", classes=two).graph.nodes[-1].op.out_features == 2
    assert costmodel.plan("mcunet_5fps", np.int64(40_000_000), batch=two).estimate.batch == 2
    assert measure(realize("mcunet_5fps", "last"), batch=np.int64(1), resolution=np.int64(33)).saved_bytes > 0
    with pytest.raises(costmodel.CostmodelError, match="batch is .*True_?; allowed: an integer from 1"):
        costmodel.estimate("mcunet_5fps", batch=np.bool_(True))
