"""Sizes as people read and write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import CostmodelError
from costmodel.sizes.units import BYTES, in_unit, parse_size, show_count, show_size, unit_of


@pytest.mark.parametrize(
    "text, size",
    [
        ("64MB", 64_000_000), ("256KiB", 262_144), ("1.5GiB", 1_610_612_736), (" 2 kb ", 2000), ("0.0015kB", 1),
        ("1B", 1), ("8TiB", 8 * 2**40), ("64M", 64_000_000), ("256Mi", 2**28), ("256mib", 2**28), ("1G", 10**9),
        (".5GB", 500_000_000), (".5g", 500_000_000), ("64000000", 64_000_000), ("7", 7), ("3k", 3000), ("3 Ki", 3072),
        ("9223372036854775807", 2**63 - 1),
    ],
)  # fmt: skip
def test_a_size_is_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", [
        "MB", "64 MBit", "-1MB", "1e3MB", "0B", "0.4B", "99999999TB", "", ".", ".MB", "1.MB", "1.5", "64MBB", "64Mb B",
        "6 4MB", "64,5MB", "0x10", "+1MB", "٦٤MB", "9223372036854775808",
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused_by_its_name(text):
    with pytest.raises(CostmodelError, match="limit is "):
        parse_size(text, "limit")


@given(st.integers(1, 2**40), st.sampled_from([*BYTES]), st.data())
def test_a_size_is_read_in_any_unit_and_case_with_or_without_its_b(number, unit, data):
    text = data.draw(st.sampled_from([unit, unit.upper(), unit.lower()]))
    size = number * BYTES[unit]
    if size < 2**63:
        assert parse_size(f"{number}{text}") == parse_size(f" {number} {text} ") == size
        assert parse_size(f"{number}{text[:-1]}") == size  # of bytes nothing is left: plain digits
        assert parse_size(str(size)) == size


@given(st.decimals(0, 10**6, places=6), st.sampled_from([unit for unit in BYTES if unit != "B"]))
def test_a_fraction_is_exact_and_cut_to_whole_bytes(number, unit):
    size = int(number * BYTES[unit])
    if size:
        assert parse_size(f"{number}{unit}") == size


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_one_clear_sentence(text):
    try:
        assert parse_size(text) > 0
    except CostmodelError as error:
        assert str(error).startswith(f"budget is {text!r}; allowed: ") and "\n" not in str(error)


def test_a_size_is_shown_in_the_unit_of_its_magnitude():
    assert [show_size(n) for n in (0, 999, 1000, 70_843_716, -2_500_000_000)] == [
        "0 B", "999 B", "1.00 kB", "70.84 MB", "-2.50 GB"]  # fmt: skip
    assert unit_of(999_999) == "kB" and in_unit(1_234_567, "kB") == "1,234.57" and in_unit(1234, "B") == "1,234"
    assert [show_count(n) for n in (999, 3_504_872, 4.81e9)] == ["999", "3.50 M", "4.81 G"]
