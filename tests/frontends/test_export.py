"""Networks written as specs read back as the same networks, or the command says what differs."""

import pytest
import torch
from commandline import CliRunner
from strange import Base, Checkpointed, LargeBatch
from torch import nn

import costmodel
from costmodel.cli import main
from costmodel.files.document import parse
from costmodel.frontends.modules.dtypes import dtype_of
from costmodel.frontends.spec.export import to_yaml
from costmodel.frontends.spec.idle import buffer_of, parameter_of, row_of

SIZE = {"batch": 4, "resolution": 10, "target": "none"}


def idle():
    """A network with a parameter and with buffers that no op uses."""
    module = Base()
    module.fc.beside = nn.Parameter(torch.zeros(5, 2))
    module.register_buffer("table", torch.zeros(7))
    module.register_buffer("places", torch.arange(3))
    return module


MADE = {"idle": idle, "half": lambda: Base().bfloat16(), "checkpointed": Checkpointed}


@pytest.mark.parametrize("made", MADE)
def test_a_spec_keeps_what_stands_beside_the_nodes(made, tmp_path):
    network = costmodel.load(MADE[made](), resolution=10)
    path = tmp_path / "net.yaml"
    path.write_text(to_yaml(network))
    again = costmodel.load(str(path))
    assert again.dtype == network.dtype and again.graph.checkpointed == network.graph.checkpointed
    assert again.graph.stateful == network.graph.stateful and bool(network.graph.checkpointed) == (
        made == "checkpointed"
    )
    assert again.graph.buffers == network.graph.buffers and again.graph.parameters == network.graph.parameters
    for strategy in ("full", "last", "inference"):
        one, other = (costmodel.estimate(n, strategy, check=False, **SIZE) for n in (network, again))
        assert one.to_dict() == other.to_dict(), strategy


def test_a_row_reads_back_as_the_tensor():
    def read_back(text):
        return parse(f"rows:\n{text}", "a spec")["rows"][0]

    assert parameter_of(read_back(row_of("fc", "beside", (5, 2)))) == ("fc", "beside", (5, 2))
    assert buffer_of(read_back(row_of("", "places", (3,), 64))) == ("", "places", ((3,), 64))


def test_the_data_type_of_a_module_is_of_its_first_floating_point_parameter():
    of_integers = nn.ParameterList([nn.Parameter(torch.zeros(1, dtype=torch.int8), False)])
    assert dtype_of(of_integers) == "float32" and dtype_of(of_integers.append(torch.zeros(1).half())) == "float16"


def test_buffers_that_no_op_uses_count():
    memory = costmodel.estimate(idle(), "full", **SIZE).memory_bytes
    without = costmodel.estimate(Base(), "full", **SIZE).memory_bytes
    assert memory["buffers"] - without["buffers"] == 7 * 4 + 3 * 8
    assert memory["parameters"] - without["parameters"] == 5 * 2 * 4
    assert memory["peak"] - without["peak"] == 7 * 4 + 3 * 8 + 5 * 2 * 4
    assert memory["buffers"] == sum(one.nbytes for one in idle().buffers())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "from strange import Base, LargeBatch\nsame, other, part = Base(), LargeBatch(), Base()\n"
        "next(m for m in part.modules() if m is not part).eval()\n"
    )
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_a_module_that_does_something_else_than_its_layers_is_refused(file, tmp_path):
    network = costmodel.load(LargeBatch(), resolution=10)
    assert network.dry is not None
    out = tmp_path / "other.yaml"
    told = run("export", f"{file}:other", "--resolution", 10, "-o", out)
    assert told.exit_code == 2 and "does not describe" in told.stderr and "a spec needs the graph" in told.stderr
    assert not out.exists()
    assert run("export", f"{file}:other", "--resolution", 10, "-o", out, "--no-check").exit_code == 0 and out.exists()


def test_the_resolution_that_was_asked_for_is_written():
    assert "\nresolution: 96\n" in run("export", "mobilenet_v2", "--resolution", 96).stdout
    told = run("export", "mobilenet_v2", "--resolution", -3)
    assert told.exit_code == 2 and "resolution is -3" in told.stderr and told.stdout == ""


def test_what_a_spec_leaves_out_is_said(file):
    told = run("export", f"{file}:part", "--resolution", 10)
    assert told.exit_code == 0 and "under the strategy as_is too" in told.stderr and told.stdout.startswith("network:")
    assert run("export", f"{file}:same", "--resolution", 10).stderr == ""
