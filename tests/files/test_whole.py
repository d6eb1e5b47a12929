"""Files that are written as a whole, or not at all."""

import pytest

from costmodel import CostmodelError
from costmodel.files.whole import replacing, write_text


def test_a_file_is_replaced_only_when_the_new_one_is_complete(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as (unfinished,):
        unfinished.write_text("half")
        assert path.read_text() == "old"
        1 / 0  # noqa: B018
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    write_text(path, "new: \u00e4")
    assert path.read_text(encoding="utf-8") == "new: \u00e4" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["no/such/out.csv", "n" * 300 + ".csv"])
def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path, name):
    with pytest.raises(CostmodelError, match="^output .* cannot be written: "):
        write_text(tmp_path / name, "text")
    assert list(tmp_path.iterdir()) == []
