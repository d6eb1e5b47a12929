"""Files that are written as a whole, or not at all."""

import errno
import os

import pytest

from costmodel import CostmodelError
from costmodel.files.whole import check_free, replacing, write_text


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


def test_a_file_that_appears_meanwhile_is_not_replaced_without_force(tmp_path):
    """Two processes write one file: the first wins, the other is told."""
    path = tmp_path / "out.csv"
    with pytest.raises(CostmodelError, match="out.csv' exists; allowed: another name, or --force"):
        with replacing(path, force=False) as (unfinished,):
            unfinished.write_text("ours")
            path.write_text("theirs")
    assert path.read_text() == "theirs" and list(tmp_path.iterdir()) == [path]
    write_text(path, "ours", force=True)
    assert path.read_text() == "ours"


def test_a_file_system_without_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    write_text(tmp_path / "a", "new", force=False)
    with pytest.raises(CostmodelError, match="exists"):
        write_text(tmp_path / "a", "newer", force=False)
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("pipe", "a named pipe"), (".", "a folder")):
        for force in (False, True):
            with pytest.raises(CostmodelError, match=f"is {what}; allowed: a file"):
                check_free(tmp_path / name, force)
    check_free(tmp_path / "none", False)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    for name, target in (("link", "real"), ("dangling", "none")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(CostmodelError, match="exists; allowed: another name, or --force"):
            check_free(tmp_path / name, False)
        write_text(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink() and (tmp_path / target).read_text() == "new"


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(CostmodelError, match="cannot be written: "):
        write_text(tmp_path / "f" / "x.yaml", "text")
