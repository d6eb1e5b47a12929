"""What tests call the command line by."""

import inspect

from click import testing

# Until 8.2 click joined the two streams unless told not to.
_SEPARATE = {"mix_stderr": False} if "mix_stderr" in inspect.signature(testing.CliRunner).parameters else {}


class CliRunner(testing.CliRunner):
    """click's, whose results have stdout and stderr apart with every version."""

    def __init__(self):
        super().__init__(**_SEPARATE)
