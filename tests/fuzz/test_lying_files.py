"""Files that are not what their names say: pipes, devices, folders, links, other encodings, large ones, cut ones."""

import gzip
import os
import socket
import sys

import pytest
from fuzzing import hold, written

from specs import BLOCKS

CHECKS = '[[tool.costmodel.check]]\nnetwork = "tiny.yaml"\nbudget = "1MB"\n'
#: Commands by the name of the file that they read.
READERS = {
    "net.yaml": ("report", "net.yaml"),
    "net.onnx": ("compare", "net.onnx"),
    "net.py": ("compare", "net.py:Net"),
    "plan.yaml": ("compare", "tiny.yaml", "--strategy", "plan.yaml"),
    "grid.csv": ("pareto", "grid.csv"),
    "grid.parquet": ("pareto", "grid.parquet"),
    "values.csv": ("plan", "tiny.yaml", "--budget", "1MB", "--maximise", "values.csv"),
    "checks.toml": ("check", "--config", "checks.toml"),
    "old.json": ("check", "--config", "right.toml", "--diff", "old.json"),
    "loss.py": ("compare", "tiny.yaml", "--loss", "loss.py:loss"),
}


def full(path):
    """50 MB of text, in short lines or in a single one."""
    with open(path, "wb") as file:
        file.write(b"a: 1\n" * 10_000_000 if path.suffix != ".csv" else b"a" * 50_000_000)


def sparse(path):
    """5 GB of nothing, which take no place on the disk."""
    with open(path, "wb") as file:
        file.truncate(5 * 2**30)


def listens(path):
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(path))
    one.close()


LIES = {
    "a pipe": lambda path: os.mkfifo(path),
    "a link to a device without end": lambda path: os.symlink("/dev/zero", path),
    "a link to a terminal": lambda path: os.symlink("/dev/tty", path),
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: os.symlink(path.name, path),
    "a link to nothing": lambda path: os.symlink("nowhere", path),
    "a socket": listens,
    "empty": lambda path: path.write_bytes(b""),
    "one null": lambda path: path.write_bytes(b"\0"),
    "nulls": lambda path: path.write_bytes(bytes(10_000)),
    "50 MB": full,
    "5 GB": sparse,
    "UTF-16": lambda path: path.write_bytes(BLOCKS.encode("utf-16")),
    "UTF-32": lambda path: path.write_bytes(BLOCKS.encode("utf-32")),
    "Latin-1": lambda path: path.write_bytes(b"network: caf\xe9\n"),
    "packed": lambda path: path.write_bytes(gzip.compress(BLOCKS.encode())),
    "one long line": lambda path: path.write_bytes(b"x" * 3_000_000),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "many lines": lambda path: path.write_bytes(b"- " * 100_000 + b"\n" * 100_000),
    "not to be read": lambda path: (path.write_bytes(b"a"), path.chmod(0)),
    "below /proc": lambda path: os.symlink("/proc/self/mem", path),
}


@pytest.mark.one_in(3)
@pytest.mark.skipif(sys.platform != "linux", reason="pipes, devices and /proc are Linux'")
@pytest.mark.parametrize("name", READERS)
def test_lying_files(name, tmp_path, monkeypatch):
    """Ten commands with 21 lies each: none succeeds, but a Python file may be empty of errors until it is asked."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "tiny.yaml", BLOCKS)
    written(tmp_path / "right.toml", CHECKS)

    def cases():
        for what, lie in LIES.items():
            path = tmp_path / name
            lie(path)
            yield f"{name} is {what}", READERS[name]
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    assert set(hold(cases())) == {2}
