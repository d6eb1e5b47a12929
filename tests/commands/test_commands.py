"""Commands: a file for each, which the command line imports when it is called."""

import pytest
from commandline import CliRunner

from costmodel.cli import COMMANDS, main
from costmodel.commands import (
    calibrate,
    check,
    compare,
    explain,
    export,
    fit,
    list,
    pareto,
    plan,
    probe,
    report,
    sweep,
    validate,
    where,
)

MODULES = (
    calibrate, check, compare, explain, export, fit, list, pareto, plan, probe, report, sweep, validate, where,
)  # fmt: skip
FILES = {module.__name__.rpartition(".")[2]: module for module in MODULES}


def test_every_command_has_a_file_and_every_file_a_command():
    assert {*COMMANDS} == {*FILES}


@pytest.mark.parametrize("name", FILES)
def test_a_command_is_called_as_its_file_and_says_first_what_it_does(name):
    command = FILES[name].command
    assert command.name == name
    first = command.help.strip().splitlines()[0]
    helped = CliRunner().invoke(main, [name, "--help"])
    assert helped.exit_code == 0 and first in " ".join(helped.stdout.split())
