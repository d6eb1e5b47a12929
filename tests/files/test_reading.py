"""Files that people name: what is no regular file, or too large, is told before anything is opened."""

import os

import pytest
from commandline import CliRunner

from costmodel.cli import main
from costmodel.errors import CostmodelError
from costmodel.files import reading
from costmodel.files.reading import check_readable, text_of, unreadable


def test_text_with_a_byte_order_mark_and_its_own_line_ends(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfblock,value\r\na,1\n")
    assert text_of(str(path)) == "block,value\r\na,1\n"


@pytest.mark.parametrize("content, message", [
    (b"\xff\xfe\x00", "it is not UTF-8 text"),
    (b"a: \xe4", "it is not UTF-8 text"),
    (b"12345678901", r"it has 11 B; allowed: at most 10 B"),
])  # fmt: skip
def test_what_is_no_text_or_too_large(tmp_path, monkeypatch, content, message):
    monkeypatch.setitem(reading.LARGEST, "text", 10)
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(CostmodelError, match=f"^cannot read '.*a.yaml': {message}"):
        text_of(str(path))


def test_a_file_that_grows_or_does_not_tell_its_size(tmp_path, monkeypatch):
    """As those below /proc do."""
    monkeypatch.setitem(reading.LARGEST, "text", 10)
    monkeypatch.setattr(reading, "check_readable", lambda path, kind: None)
    path = tmp_path / "a.yaml"
    path.write_text("12345678901")
    with pytest.raises(CostmodelError, match="it has more than"):
        text_of(str(path))


def test_folders_and_files_that_are_not_there(tmp_path):
    for path, message in ((tmp_path, "it is a folder; allowed: a regular file"), (tmp_path / "no", "No such file")):
        with pytest.raises(CostmodelError, match=message):
            check_readable(str(path))
    with pytest.raises(CostmodelError, match="cannot read"):
        check_readable("a\0b")
    assert str(unreadable("a", OSError(5, "Broken"))) == "cannot read 'a': Broken"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name, command", [
    ("net.yaml", ("report", "net.yaml")),
    ("net.onnx", ("report", "net.onnx")),
    ("net.py", ("report", "net.py:Net")),
    ("plan.yaml", ("report", "mcunet_5fps", "--strategy", "plan.yaml")),
    ("grid.csv", ("pareto", "grid.csv")),
    ("values.csv", ("plan", "mcunet_5fps", "--budget", "64MB", "--maximise", "values.csv")),
    ("pyproject.toml", ("check", "--config", "pyproject.toml")),
    ("old.json", ("check", "--config", "none.toml", "--diff", "old.json")),
])  # fmt: skip
def test_no_command_waits_for_a_pipe_or_reads_a_device_without_end(tmp_path, monkeypatch, name, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none.toml").write_text('[[tool.costmodel.check]]\nnetwork = "mcunet_5fps"\nbudget = "1GB"\n')
    for make, what in ((os.mkfifo, "a named pipe"), (lambda path: os.symlink("/dev/zero", path), "a device")):
        if what == "a device" and not os.path.exists("/dev/zero"):
            continue
        make(name)
        result = CliRunner().invoke(main, list(command))
        assert result.exit_code == 2 and f"cannot read '{name}': it is {what}; allowed: a regular file" in result.stderr
        os.unlink(name)
