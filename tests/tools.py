"""The tools that judge the code, in the environment of the tests or else on the path."""

import shutil
import sys
from importlib.util import find_spec

import pytest


def tool(name):
    """The start of a command line that runs a tool; the test is skipped where there is none."""
    if find_spec(name) is not None:
        return [sys.executable, "-m", name]
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return [found]
