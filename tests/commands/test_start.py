"""`python -m costmodel` is the command line."""

import subprocess
import sys

import costmodel


def test_python_m_costmodel():
    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "costmodel", *arguments], capture_output=True, text=True)

    assert run("--version").stdout == f"costmodel, version {costmodel.__version__}\n"
    wrong = run("report", "mobilenet_v9")
    assert (wrong.returncode, wrong.stdout) == (2, "") and "unknown network 'mobilenet_v9'" in wrong.stderr
