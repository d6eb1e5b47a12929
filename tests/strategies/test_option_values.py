"""Parsers of the values of options."""

import pytest

from costmodel.strategies._option_values import at_least, on, one_of


def test_values():
    assert one_of("a", "b")("b") == "b" and one_of(1, 2)("2") == 2
    assert on("1") is True and on("0") is False
    assert at_least(0)("0") == 0 and at_least(1)("12") == 12


@pytest.mark.parametrize("read, text, message", [
    (one_of(1, 2), "3", "^1, 2$"), (on, "yes", "0 or 1"), (at_least(1), "0", "^an integer >= 1$"),
    (at_least(0, "blocks"), "-1", "^an integer >= 0, blocks$"), (at_least(1), "1234567", "an integer"),
    (at_least(1), "\u0661", "an integer"),
])  # fmt: skip
def test_what_is_allowed_is_said(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)
