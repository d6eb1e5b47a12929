"""The examples of docs/gate.md: every command is run, and prints what stands below it. And the limits that are told."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from costmodel.files.document import DEEPEST, MOST_TOKENS
from costmodel.files.reading import LARGEST, MOST_CELLS
from costmodel.frontends.onnxfiles.constants import MOST, MOST_OF_ALL
from costmodel.frontends.onnxfiles.functions import MOST_NODES
from costmodel.frontends.spec.grammar import MOST_BLOCKS
from costmodel.graph import paths
from costmodel.studies.grid.axes import LONGEST
from costmodel.studies.grid.sweep import MOST_IN_MEMORY

ROOT = Path(__file__).parent.parent
GATE = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", GATE, re.MULTILINE | re.DOTALL)
FILES = {first[2:]: rest for text in (t for kind, t in FENCES if kind != "console")
         for first, _, rest in [text.partition("\n")]}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A folder with the commands that the examples call."""
    for name, module in (("costmodel", "costmodel"), ("pytest", "pytest -p costmodel.pytest_plugin")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        program.chmod(0o755)
    return tmp_path


def printed(folder, command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0 and run.stderr == "", f"{command}: {run.stdout}{run.stderr}"
    return re.sub(r" in [\d.]+s\n", "\n", run.stdout)


def test_every_command_of_the_gate_prints_what_is_shown(folder):
    commands = 0
    for kind, text in FENCES:
        if kind != "console":
            name, _, rest = text[2:].partition("\n")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(rest)
            continue
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            commands += 1
            out = "\n".join(line.rstrip() for line in printed(folder, command).splitlines())
            assert not shown or out == shown.rstrip(), f"{command}\n{out}"
    assert commands == 5


def test_the_workflow_and_the_hook_of_the_gate_name_what_there_is():
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    (job,) = yaml.safe_load(FILES[".github/workflows/memory.yml"])["jobs"].values()
    (step,) = [step for step in job["steps"] if "costmodel@" in step.get("uses", "")]
    assert step["with"].keys() <= action["inputs"].keys()
    text = FILES[".github/workflows/memory.yml"]
    assert {*re.findall(rf"steps\.{step['id']}\.outputs\.(\w+)", text)} <= action["outputs"].keys()
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (repository,) = yaml.safe_load(FILES[".pre-commit-config.yaml"])["repos"]
    assert repository["hooks"] == [{"id": hook["id"]}]


def test_the_limits_that_are_told_are_those_that_hold():
    text = (ROOT / "docs/output.md").read_text(encoding="utf-8")
    mib = {kind: f"{size // 2**20} MiB" for kind, size in LARGEST.items()}
    for row in (
        f"| Python files, settings in TOML | {mib['code']} |",
        f"| specs, strategies, results in JSON | {mib['text']}, {DEEPEST} levels of nesting, "
        f"{MOST_TOKENS:,} words and marks; no anchors |",
        f"| tables | {mib['table']}, {MOST_CELLS:,} cells |",
        f"| ONNX files | {LARGEST['network'] // 2**30} GiB; {MOST_NODES:,} nodes with their functions opened |",
        f"| {MOST:,} numbers, and {MOST_OF_ALL:,} of all; a larger one is priced, not made |",
        f"| a spec's blocks | {MOST_BLOCKS:,} |",
        f"| a node's name | {paths.LONGEST:,} characters, {paths.DEEPEST} modules |",
        f"| an axis of a sweep | {LONGEST:,} values |",
        f"| a sweep without `-o` | {MOST_IN_MEMORY:,} cells |",
    ):
        assert row in text
