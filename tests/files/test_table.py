"""Tables that people keep: what is read is what was written."""

import numpy as np
import pytest

from costmodel.errors import CostmodelError
from costmodel.files import parquet, reading
from costmodel.files.table import is_table, read_table


def written(folder, text):
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_column_is_of_numbers_where_all_its_cells_are(tmp_path):
    path = written(tmp_path, "strategy, batch,accuracy,note\nfull,1, 0.5,\n\nlast,2,1,3x\n")
    assert read_table(path) == {
        "strategy": ["full", "last"], "batch": [1, 2], "accuracy": [0.5, 1.0], "note": ["", "3x"],
    }  # fmt: skip


def test_a_blank_among_numbers_is_none(tmp_path):
    assert read_table(written(tmp_path, "a,b\n1,\n,2.5\n")) == {"a": [1, None], "b": [None, 2.5]}


@pytest.mark.parametrize(
    "text, message", [("a,b\n", "has no rows"), ("", "has no rows"), ("a,b\n1,2\n1\n", "row 3: 1 cells under 2 column")]
)
def test_what_is_no_table_is_refused(tmp_path, text, message):
    with pytest.raises(CostmodelError, match=message):
        read_table(written(tmp_path, text))


def test_a_table_is_known_by_its_name():
    assert [is_table(name) for name in ("a.csv", "a.parquet", "mobilenet_v2", "a.yaml")] == [True, True, False, False]


def test_parquet_reads_back_what_was_written(tmp_path):
    pytest.importorskip("pyarrow")
    path = str(tmp_path / "table.parquet")
    columns = {"strategy": np.array(["full", "last"]), "batch": np.array([3, -1]), "share": np.array([0.5, 0.25])}
    parquet.write(columns, path, {"strategy": str, "share": float})
    assert read_table(path) == {"strategy": ["full", "last"], "batch": [3, -1], "share": [0.5, 0.25]}


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_cells_that_would_not_fit_into_the_memory(name, tmp_path, monkeypatch):
    path = tmp_path / name
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
        parquet.write({"a": np.arange(10), "b": np.arange(10)}, str(path), {})
    else:
        path.write_text("a,b\n" + "1,2\n" * 9)
    monkeypatch.setattr(reading, "MOST_CELLS", 19)
    with pytest.raises(CostmodelError, match="it has 10 x 2 cells; allowed: at most 19"):
        read_table(str(path))


def test_a_table_has_each_column_once(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(CostmodelError, match="has two columns called 'a'; allowed: one"):
        read_table(str(tmp_path / "a.csv"))


def test_parquet_columns_of_numbers_and_texts_alone(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path = str(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pa.table({"text": ["x"] * 1000, "at": pa.array([0] * 1000, pa.timestamp("ns"))}), path)
    with pytest.raises(CostmodelError, match=r"the column 'at' is timestamp.*; allowed: numbers, texts"):
        read_table(path)
    pyarrow.parquet.write_table(pa.table({"text": ["x" * 100] * 1000 + [None]}), path)
    texts = read_table(path)["text"]
    assert len(set(map(id, texts))) == 2 and texts[-1] is None
