"""The command line that asks a question."""

from costmodel.views.shell import command_line


def test_defaults_are_left_out_and_names_are_quoted():
    options = {"strategy": "bias", "batch": 8, "width": None, "blocks_are": "layers.*", "allow_unknown": True}
    assert command_line("report", "my net.py:Net", options, "--budget", "64MB") == (
        "costmodel report 'my net.py:Net' --strategy bias --blocks-are 'layers.*' --allow-unknown --budget 64MB"
    )
    assert command_line("list", "x", {"strategy": "full", "accumulate": 1, "strict": False}) == "costmodel list x"
