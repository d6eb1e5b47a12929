"""One formatter and one linter, with the configuration in pyproject.toml."""

import subprocess
from pathlib import Path

import pytest
from tools import tool

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "asked", [["check", "--no-cache"], ["format", "--check", "--no-cache"]], ids=["lint", "format"]
)
def test_ruff_finds_nothing(asked):
    run = subprocess.run(
        [*tool("ruff"), *asked, "costmodel", "tests", "specs"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
