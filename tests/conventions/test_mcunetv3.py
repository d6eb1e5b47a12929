"""MCUNetV3's own arithmetic: the authors' schemes, and one worked out by hand."""

import pytest

import costmodel
from costmodel.conventions import CONVENTIONS
from costmodel.conventions.mcunetv3 import memory
from costmodel.errors import CostmodelError
from costmodel.files.shipped import shipped_names
from costmodel.strategies._scheme import Scheme, read
from costmodel.strategies.sparse import convolutions
from costmodel.studies.papers import claims, compute

SCHEMES = [claim for claim in claims() if claim.paper == "MCUNetV3"]


@pytest.mark.parametrize("claim", SCHEMES, ids=lambda claim: claim.strategy)
def test_a_schemes_name_is_its_kib_rounded_down(claim):
    assert int(compute(claim).in_unit) == claim.published


def test_all_schemes_are_held():
    assert {claim.strategy.partition(":")[2] for claim in SCHEMES} == set(shipped_names("schemes"))
    assert len(SCHEMES) == 15 and CONVENTIONS["mcunetv3"].memory is memory


def test_the_last_twelve_whole_convolutions():
    """The paper's figure of 448 KB."""
    last = "/".join(f"{i}:1" for i in range(30, 42))
    found = costmodel.estimate("mcunet_5fps", f"sparse,bias=12,weights={last}", 1, convention="mcunetv3")
    assert int(found.peak_bytes / 1024) == 448


def test_bytes_by_hand():
    """The last convolution of mcunet_5fps: 576 -> 160 channels on 4x4. The classifier reads 160 numbers."""
    found = costmodel.estimate("mcunet_5fps", "sparse,bias=1,weights=41:.25", 1, convention="mcunetv3")
    mask, bias, inputs, weights = 160 * 16, 160 * 32, 8 * 144 * 16, 8 * 160 * 144
    assert found.peak_bytes == (mask + bias + inputs + weights + 8 * 160) // 8


def test_a_scheme_of_ones_own(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("bias: 3\nweights: {41: 0.5, 38: 1}\n")
    assert read(str(path)) == Scheme(3, {41: 0.5, 38: 1.0})
    asked = dict(batch=2, convention="lean")
    by_text = costmodel.estimate("mcunet_5fps", "sparse,bias=3,weights=41:.5/38:1", **asked)
    assert costmodel.estimate("mcunet_5fps", f"sparse:{path}", **asked).peak_bytes == by_text.peak_bytes
    for text, message in (
        ("weights: {41: 0.5}", "bias"), ("bias: 1\nweights: {41: 2}", "line 2.*allowed: CONVOLUTION:SHARE"),
        ("bias: -1", "bias"), ("bias: 1\nextra: 2", "extra"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(CostmodelError, match=message):
            read(str(path))
    assert convolutions(costmodel.load("mcunet_5fps").graph)[-1].owner.endswith("point_linear.conv")
