"""The runner with which tests call the command line."""

import inspect

from click import testing

# Before 8.2, click joined stdout and stderr unless told not to.
_SEPARATE = {"mix_stderr": False} if "mix_stderr" in inspect.signature(testing.CliRunner).parameters else {}


class CliRunner(testing.CliRunner):
    """click's runner, with stdout and stderr separate in every version of click."""

    def __init__(self):
        super().__init__(**_SEPARATE)
