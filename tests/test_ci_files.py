"""What other repositories use of this one in continuous integration: the GitHub Action and the pre-commit hook."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from costmodel.cli import COMMANDS
from specs import BLOCKS, changed

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["name"]: step for step in ACTION["runs"]["steps"]}
CHECK = (
    '[tool.costmodel]\ntarget = "none"\n[[tool.costmodel.check]]\nname = "phone"\nnetwork = "tiny.yaml"\nbatch = 4\n'
)


@pytest.fixture
def workflow(tmp_path):
    """A repository with a budget, and a runner that has this package and a stub of pip."""
    for folder in ("bin", "repository/models", "temporary"):
        (tmp_path / folder).mkdir(parents=True)
    here = f'PYTHONPATH="{ROOT}" exec "{sys.executable}"'
    for name, body in (("costmodel", f'{here} -m costmodel "$@"'), ("python", 'printf "%s\\n" "$@"')):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "repository" / "models" / "tiny.yaml").write_text(BLOCKS)
    (tmp_path / "repository" / "models" / "pyproject.toml").write_text(CHECK + 'budget = "700kB"\n')
    return tmp_path


def run_step(workflow, name, **inputs):
    """Run a step of the action as a runner does: its inputs are in the environment; its exit code, log and outputs."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    given = {key: inputs[text.split("inputs.")[1].split()[0]] for key, text in STEPS[name]["env"].items()}
    environment = {
        **os.environ,
        **given,
        "PATH": f"{workflow / 'bin'}:{os.environ['PATH']}",
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_WORKSPACE": str(workflow / "repository"),
        "GITHUB_OUTPUT": str(workflow / "outputs"),
        "GITHUB_STEP_SUMMARY": str(workflow / "summary.md"),
        "RUNNER_TEMP": str(workflow / "temporary"),
    }
    (workflow / "outputs").write_text("")
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", STEPS[name]["run"]]
    folder = workflow / "repository" / inputs.get("working-directory", ".")
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return run.returncode, run.stdout, outputs_of((workflow / "outputs").read_text())


def outputs_of(text):
    """The outputs in a step's file: lines NAME=VALUE, and NAME<<END, lines, END."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        name, mark, value = line.partition("<<")
        if mark:
            found[name] = "\n".join(iter(lambda end=value: next(lines), value))
        else:
            name, _, value = line.partition("=")
            found[name] = value
    return found


def test_the_action_installs_itself_and_what_is_asked_for(workflow):
    code, log, _ = run_step(workflow, "Install", packages="torch timm")
    assert code == 0 and log.splitlines()[-3:] == [str(ROOT), "torch", "timm"]


def test_the_action_holds_then_fails_and_names_the_block_that_grew(workflow):
    asked = {"config": "", "base": "", "working-directory": "models"}
    code, log, held = run_step(workflow, "Check", **asked)
    assert code == 0 and held["holds"] == "true" and log.startswith("phone: the peak of ")
    assert held["comment"].startswith("**The budget holds.**")
    network = workflow / "repository" / "models" / "tiny.yaml"
    network.write_text(changed(BLOCKS, "expand: 2", "expand: 4"))
    code, log, failed = run_step(workflow, "Check", **{**asked, "base": held["json"]})
    assert code == 1 and failed["holds"] == "false" and failed["json"] != held["json"]
    assert log.startswith("::error file=models/pyproject.toml,line=3,title=costmodel%3A phone exceeds its budget::")
    assert "%0Ablocks.0 grew since " in log
    assert "| blocks.0" in failed["comment"] and failed["comment"] in (workflow / "summary.md").read_text()


def test_the_action_compares_with_a_folder_whose_own_budgets_do_not_matter(workflow):
    repository, base = workflow / "repository", workflow / "repository" / "base"
    shutil.copytree(repository / "models", base / "models")
    (base / "models" / "pyproject.toml").write_text(CHECK + 'budget = "1kB"\n')
    (repository / "models" / "tiny.yaml").write_text(changed(BLOCKS, "expand: 2", "expand: 4"))
    asked = {"config": "", "base": "base", "working-directory": "models"}
    code, log, outputs = run_step(workflow, "Check", **asked)
    assert code == 1 and log.count("::error ") == 1 and "%0Ablocks.0 grew since base.json: saved " in log
    (base / "models" / "pyproject.toml").unlink()
    code, log, outputs = run_step(workflow, "Check", **asked)
    assert code == 1 and "No budgets could be checked in base:" in log and "cannot read 'pyproject.toml'" in log
    assert "grew" not in log and outputs["holds"] == "false"


def test_the_action_ends_with_2_where_there_is_nothing_to_check(workflow):
    asked = {"config": "no $(file).toml", "base": "", "working-directory": "."}
    code, log, outputs = run_step(workflow, "Check", **asked)
    assert (code, outputs) == (2, {"holds": "false"})


def test_the_actions_inputs_and_outputs_are_those_that_its_steps_know():
    text = (ROOT / "action.yml").read_text()
    assert all(f"inputs.{name}" in text for name in ACTION["inputs"])
    assert all("description" in one for one in [*ACTION["inputs"].values(), *ACTION["outputs"].values()])
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.check.outputs.{name} }}}}" and STEPS["Check"]["id"] == "check"
    assert not any("${{" in step.get("run", "") for step in STEPS.values())  # inputs are no part of a script


def test_the_hook_runs_the_command():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, command = hook["entry"].split()
    assert (program, hook["language"], hook["pass_filenames"]) == ("costmodel", "python", False)
    assert command in COMMANDS
    assert {"id", "name", "description", "files"} <= hook.keys()
