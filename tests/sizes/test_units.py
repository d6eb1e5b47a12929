"""Sizes as people read and write them."""

import pytest

from costmodel.errors import CostmodelError
from costmodel.sizes.units import in_unit, parse_size, show_count, show_size, unit_of


@pytest.mark.parametrize(
    "text, size",
    [
        ("64MB", 64_000_000), ("256KiB", 262_144), ("1.5GiB", 1_610_612_736), (" 2 kb ", 2000), ("0.0015kB", 1),
        ("1B", 1), ("8TiB", 8 * 2**40),
    ],
)  # fmt: skip
def test_a_size_is_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["64", "MB", "64 MBit", "-1MB", "1e3MB", "0B", "0.4B", "99999999TB", ""])
def test_what_is_no_size_is_refused_by_its_name(text):
    with pytest.raises(CostmodelError, match="limit is "):
        parse_size(text, "limit")


def test_a_size_is_shown_in_the_unit_of_its_magnitude():
    assert [show_size(n) for n in (0, 999, 1000, 70_843_716, -2_500_000_000)] == [
        "0 B", "999 B", "1.00 kB", "70.84 MB", "-2.50 GB"]  # fmt: skip
    assert unit_of(999_999) == "kB" and in_unit(1_234_567, "kB") == "1,234.57" and in_unit(1234, "B") == "1,234"
    assert [show_count(n) for n in (999, 3_504_872, 4.81e9)] == ["999", "3.50 M", "4.81 G"]
