"""How a command ends: its exit code when it is interrupted, when nobody reads it, and when its output has no room."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from commandline import CliRunner

import costmodel.__main__
import costmodel.api
from costmodel.cli import main
from costmodel.endings import ending

COMMAND = [sys.executable, "-m", "costmodel"]


def start(*arguments, **more):
    """A real process of the command line, which can be interrupted also where the tests run in the background."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    interruptible = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([*COMMAND, *arguments], preexec_fn=interruptible, **pipes)


def test_an_interrupted_sweep_says_that_it_goes_on(tmp_path):
    output = tmp_path / "grid.csv"
    sweep = start("sweep", "mcunet_5fps", "--batch", "1..100000", "--resolution", "64..300", "-o", str(output))
    while not (tmp_path / "grid.csv.unfinished.log").exists():
        assert sweep.poll() is None
        time.sleep(0.01)
    sweep.send_signal(signal.SIGINT)
    stdout, stderr = sweep.communicate(timeout=60)
    assert (sweep.returncode, stdout) == (130, b"") and not output.exists()
    assert stderr.decode().splitlines()[-1] == f"interrupted; the same command again goes on with {output}"


def test_nobody_reads_the_output():
    sweep = start("sweep", "mcunet_5fps", "--batch", "1..40000", "--format", "csv")
    assert sweep.stdout.readline().startswith(b"strategy,batch")
    sweep.stdout.close()
    assert (sweep.wait(timeout=60), sweep.stderr.read()) == (141, b"")
    sweep.stderr.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_there_is_no_room_for_the_output():
    with open("/dev/full", "wb") as full:
        listing = start("list", "optimizers", stdout=full)
        message = listing.communicate(timeout=60)[1].decode()
    assert listing.returncode == 2 and len(message.splitlines()) == 1 and "stdout cannot be written" in message


def test_a_process_without_stdout_or_stderr():
    code = f"exec {sys.executable} -m costmodel"
    asked = subprocess.run(["sh", "-c", f"{code} list optimizers >&-"], capture_output=True)
    assert (asked.returncode, asked.stderr) == (0, b"")
    wrong = subprocess.run(["sh", "-c", f"{code} report mobilenet_v9 2>&-"], capture_output=True)
    assert (wrong.returncode, wrong.stdout) == (2, b"")


def test_glyphs_degrade_where_an_encoding_lacks_them():
    report = start("report", "mcunet_5fps", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    stdout, stderr = report.communicate(timeout=60)
    assert (report.returncode, stderr) == (0, b"") and "####" in stdout.decode("ascii")


def test_an_interruption_within_a_command(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(costmodel.api, "estimate", interrupted)
    result = CliRunner().invoke(main, ["report", "mcunet_5fps"])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")


def test_an_interruption_during_the_import(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "costmodel.cli")

    class Interrupting:
        def find_spec(self, name, *_):
            if name == "costmodel.cli":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as left:
        costmodel.__main__.main()
    assert left.value.code == 130 and capsys.readouterr().err == "interrupted\n"


def test_a_mistake_in_this_package_keeps_its_traceback():
    with pytest.raises(FileNotFoundError), ending():
        open("no/such/file")
    with pytest.raises(ZeroDivisionError), ending():
        1 / 0  # noqa: B018
