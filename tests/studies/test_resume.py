"""Sweeps that are killed, damaged, or written twice at once: nothing is lost, and nothing is written that is wrong."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from commandline import CliRunner
from real import seldom

from costmodel import CostmodelError
from costmodel.cli import main
from costmodel.files.alone import alone_with
from costmodel.studies.grid.resumable import write
from costmodel.studies.grid.sweep import SweepPlan

AXES = {"strategy": ["full", "last", "bias"], "resolution": [64, 96, 128], "target": "none", "batch": "1..24"}
#: Writes that grid in chunks of eight cells.
WRITER = f"""
import sys
import costmodel.studies.grid.sweep as grid
grid.CELLS, grid.ROWS = 8, 2
from costmodel.studies.grid.resumable import write
print("begins", flush=True)
for _ in write(grid.SweepPlan("mcunet_5fps", {AXES!r}), sys.argv[1]):
    pass
"""


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setattr("costmodel.studies.grid.sweep.CELLS", 8)
    monkeypatch.setattr("costmodel.studies.grid.sweep.ROWS", 2)
    return SweepPlan("mcunet_5fps", dict(AXES))


@pytest.fixture(params=["csv", "parquet"])
def suffix(request):
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    return request.param


WHOLE = {}


@pytest.fixture
def whole(plan, tmp_path, suffix):
    """The bytes of an uninterrupted sweep."""
    if suffix not in WHOLE:
        path = tmp_path / f"whole.{suffix}"
        list(write(plan, str(path)))
        WHOLE[suffix] = path.read_bytes()
        path.unlink()
    return WHOLE[suffix]


def begun(plan, path, chunks):
    """An unfinished sweep of some chunks."""
    writing = write(plan, str(path))
    for _ in range(chunks + 1):
        next(writing)
    writing.close()


def started(path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    return process


SIGNALS = [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGKILL", signal.SIGTERM)]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kills", [3, *seldom(100)])
def test_a_killed_sweep_resumes_to_the_bytes_of_an_uninterrupted_one(plan, whole, tmp_path, suffix, kills):
    draw, path, lasts, unfinished = random.Random(kills), tmp_path / f"grid.{suffix}", 1.0, 0
    for _ in range(kills):
        process, start = started(path), time.monotonic()
        time.sleep(draw.uniform(0, lasts))
        process.send_signal(draw.choice(SIGNALS))
        process.communicate(timeout=60)
        if path.exists():  # it was faster
            lasts = min(lasts, time.monotonic() - start)
            assert path.read_bytes() == whole
            path.unlink()
        unfinished += path.with_name(f"{path.name}.unfinished").exists()
    list(write(plan, str(path)))
    assert path.read_bytes() == whole and unfinished
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("place", [0.0, 0.3, 0.999])
def test_a_flipped_byte_in_an_unfinished_file_is_found(plan, whole, tmp_path, suffix, place):
    path, notes = tmp_path / f"grid.{suffix}", []
    begun(plan, path, 5)
    unfinished = tmp_path / f"{path.name}.unfinished"
    content = bytearray(unfinished.read_bytes())
    content[int(place * len(content))] ^= 4
    unfinished.write_bytes(content)
    list(write(plan, str(path), tell=notes.append))
    assert path.read_bytes() == whole
    (note,) = notes
    assert "is damaged in part" in note and "of 6" in note  # the header and five chunks


@pytest.mark.one_in(4)
@pytest.mark.parametrize("damage", [
    lambda log: log[:-3],  # cut while it was written
    lambda log: log + b'[12, "ab"',
    lambda log: log + b"nonsense\n[1, 2, 3]\n",
    lambda log: log.splitlines(keepends=True)[0],
    lambda log: log.replace(b"\n[", b"\n[" + b"9" * 30),  # a size of more bytes than there are
    lambda log: log + b"[" * 100_000 + b"\n",
])  # fmt: skip
def test_a_damaged_log_costs_chunks_and_not_the_table(plan, whole, tmp_path, suffix, damage):
    path = tmp_path / f"grid.{suffix}"
    begun(plan, path, 4)
    log = tmp_path / f"{path.name}.unfinished.log"
    log.write_bytes(damage(log.read_bytes()))
    list(write(plan, str(path)))
    assert path.read_bytes() == whole


def test_one_of_two_writers_wins_and_the_other_is_told(plan, tmp_path):
    path = tmp_path / "grid.csv"
    writing = write(plan, str(path))
    next(writing)
    other = subprocess.run([sys.executable, "-c", WRITER, str(path)], capture_output=True, text=True)
    assert other.returncode and "is being written by another process; allowed: to wait for it" in other.stderr
    result = CliRunner().invoke(main, ["sweep", "mcunet_5fps", "-o", str(path)])
    assert result.exit_code == 2 and "another process" in result.stderr
    list(writing)
    assert len(path.read_text().splitlines()) == 1 + plan.cells
    assert [one.name for one in tmp_path.iterdir()] == ["grid.csv"]


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(CostmodelError, match="there is no folder"), alone_with(tmp_path / "no" / "grid.csv"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.one_in(2)
@pytest.mark.parametrize("command", [
    ("export", "mcunet_5fps", "-o", "out.yaml"),
    ("report", "mcunet_5fps", "--batch", "1", "--figure", "out.png"),
    ("sweep", "mcunet_5fps", "-o", "out.csv", "--force"),
    ("plan", "mcunet_5fps", "--budget", "64MB", "--batch", "1", "-o", "out.yaml"),
])  # fmt: skip
def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    name = next(part for part in command if part.startswith("out."))
    (tmp_path / name).write_bytes(b"old")
    if "--force" not in command:
        refused = CliRunner().invoke(main, list(command))
        assert refused.exit_code == 2 and f"output '{name}' exists; allowed: another name, or --force" in refused.stderr
        command = (*command, "--force")

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = CliRunner().invoke(main, list(command))
    assert result.exit_code == 2 and "cannot be written: No space left on device" in result.stderr
    assert (tmp_path / name).read_bytes() == b"old"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, list(command)).exit_code == 0 and (tmp_path / name).read_bytes() != b"old"
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_folder_in_place_of_an_unfinished_file_is_refused(plan, tmp_path):
    path = tmp_path / "grid.csv"
    begun(plan, path, 2)
    log = tmp_path / f"{path.name}.unfinished.log"
    log.unlink()
    log.mkdir()
    with pytest.raises(CostmodelError, match="allowed: a regular file"):
        list(write(plan, str(path)))


def test_what_is_not_a_sweeps_own_is_not_written_over(plan, tmp_path):
    path, own = tmp_path / "grid.csv", tmp_path / "grid.csv.unfinished"
    own.write_text("precious")
    with pytest.raises(CostmodelError, match="unfinished' exists, without a log; allowed: another name, or --force"):
        list(write(plan, str(path)))
    assert own.read_text() == "precious"
    own.unlink()
    (tmp_path / "victim").write_text("precious")
    own.symlink_to("victim")
    with pytest.raises(CostmodelError, match="it is a link; allowed: a regular file"):
        list(write(plan, str(path)))
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("end", ["", ".log", ".parquet"])
def test_a_pipe_under_one_of_its_names_is_not_waited_for(plan, tmp_path, end):
    os.mkfifo(tmp_path / f"grid.parquet.unfinished{end}")
    with pytest.raises(CostmodelError, match="it is a named pipe; allowed: a regular file"):
        list(write(plan, str(tmp_path / "grid.parquet")))


def test_a_table_that_appears_meanwhile_is_not_replaced(plan, tmp_path):
    path = tmp_path / "grid.csv"
    writing = write(plan, str(path))
    next(writing)
    path.write_text("theirs")
    with pytest.raises(CostmodelError, match="exists; allowed: another name, or --force"):
        list(writing)
    assert path.read_text() == "theirs"


def test_names_that_have_no_room_for_what_is_written_beside_them(plan, tmp_path):
    with pytest.raises(CostmodelError, match="cannot be written: "):
        list(write(plan, str(tmp_path / f"{'n' * 235}.parquet")))
    assert not list(tmp_path.iterdir())
