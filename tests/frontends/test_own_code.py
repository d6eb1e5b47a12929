"""Networks in people's own Python files and packages: classes, factories, instances; and what their code does wrong."""

import json
import sys

import pytest
from commandline import CliRunner
from torch import nn

import costmodel
from costmodel import CostmodelError
from costmodel.cli import main
from costmodel.frontends.modules.blame import in_words, run
from costmodel.frontends.modules.own_code import made

NET = """
from torch import nn
from beside import width

class Net(nn.Sequential):
    image_size = (32, 32)

    def __init__(self, classes=4):
        super().__init__(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

    def forward(self, x):
        print("forward")
        return super().forward(x)

class Wide(nn.Module):
    def __init__(self, width, *rest, depth): super().__init__()

def build(num_classes=5):
    print("built")
    return Net(num_classes)

net = build(6)
number = 4

def exits(): raise SystemExit(3)
def raises(): nn.Conv2d(3, 8, 3, groups=2)
def nothing(): return None
def interrupted(): raise KeyboardInterrupt

class Bad(nn.Sequential):
    def forward(self, x): raise RuntimeError("two\\nlines")
""".lstrip()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "beside.py").write_text("width = 8\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("beside", None)


@pytest.mark.parametrize("name, outputs", [("Net", 4), ("build", 5), ("net", 6)])
def test_a_class_a_factory_and_an_instance_of_a_file(folder, name, outputs):
    network = costmodel.load(f"{folder}/net.py:{name}")
    assert network.graph.nodes[-1].op.out_features == outputs and network.resolution == 32
    assert network.name == f"{folder}/net.py:{name}" and str(folder) not in sys.path


def test_a_file_in_a_package_and_a_name_in_a_class(folder):
    package = folder / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("from torch import nn\n\nclass Nets:\n    small = nn.Conv2d(3, 5, 3)\n")
    (package / "nets.py").write_text("from .parts import Nets\n")
    for home in ("own_package/nets.py", "own_package.nets"):
        assert made(home, "Nets.small", None).out_channels == 5
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]


def test_classes_are_handed_to_a_factory(folder):
    assert costmodel.load("net.py:build", classes=9).graph.nodes[-1].op.out_features == 9
    with pytest.raises(CostmodelError, match="^net.py:Net takes no num_classes"):
        costmodel.load("net.py:Net", classes=9)
    with pytest.raises(CostmodelError, match="^net.py:net is already built, so that classes cannot be given"):
        costmodel.load("net.py:net", classes=9)


@pytest.mark.parametrize("network, message", [
    ("nowhere.py:Net", "cannot read 'nowhere.py': No such file"),
    ("net.py:nett", "net.py has no 'nett'; did you mean 'net' or 'Net'? (in it: Net, Wide, build, net, exits, "),
    ("net.py", "net.py is no network; allowed: net.py:NAME (in it: Net, Wide, build, net, exits, "),
    ("net.py:number", "net.py:number is a int; allowed: a torch.nn.Module, or a class or function that makes one"),
    ("net.py:Wide", "net.py:Wide needs width, depth; allowed: a torch.nn.Module, or a class or function that"),
    ("net.py:exits", "net.py:exits fails: net.py, line 24: it exits (SystemExit: 3)"),
    ("net.py:raises", "net.py:raises fails: net.py, line 25: ValueError: "),
    ("net.py:nothing", "net.py:nothing returned a NoneType; allowed: a torch.nn.Module"),
    ("net.py:Bad", "tracing the network on 3x224x224 ends in net.py, line 30: RuntimeError: two lines"),
    ("no_such_package:Net", "cannot import 'no_such_package'"),
    ("net.yaml.py:Net", "cannot read 'net.yaml.py'"),
])  # fmt: skip
def test_what_is_wrong_is_one_message_with_its_line(folder, network, message):
    with pytest.raises(CostmodelError) as error:
        costmodel.load(network)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize("text, message", [
    ("x = 1\ny = (\n", "broken.py fails: broken.py, line 2: SyntaxError: "),
    ("import sys\nsys.exit('no')\n", "broken.py fails: broken.py, line 2: it exits (SystemExit: no)"),
    ("import nowhere_to_be_found\n", "broken.py fails: broken.py, line 1: ModuleNotFoundError: "),
])  # fmt: skip
def test_a_file_that_cannot_be_imported(folder, text, message):
    (folder / "broken.py").write_text(text)
    with pytest.raises(CostmodelError) as error:
        costmodel.load("broken.py:Net")
    assert str(error.value).startswith(message)


def test_what_code_prints_does_not_get_into_the_answer(folder):
    result = CliRunner().invoke(main, ["report", "net.py:build", "--resolution", "16", "--format", "json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["network"] == "net.py:build"
    assert {"built", "forward"} <= {*result.stderr.split()}


def test_an_interruption_is_not_swallowed(folder):
    with pytest.raises(KeyboardInterrupt):
        costmodel.load("net.py:interrupted")
    assert CliRunner().invoke(main, ["report", "net.py:interrupted"]).exit_code == 130


def test_whose_line_it_was():
    def of_this_file():
        nn.Conv2d(3, 8, 3, groups=2)

    with pytest.raises(CostmodelError, match=r"^it fails: .*test_own_code.py, line \d+: ValueError: "):
        run("it", of_this_file)
    assert in_words(KeyError("raised nowhere")) == "KeyError: 'raised nowhere'"


@pytest.mark.parametrize("size, told", [((64, 0), "(64, 0)"), ("64", "'64'"), ([[1]], "[[1]]")])
def test_the_size_of_a_modules_images(size, told):
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    module.image_size = (64, 64)
    assert costmodel.load(module).resolution == 64
    module.image_size = (64, 32)
    assert costmodel.load(module).inputs[0].shape == (3, 64, 32)
    module.image_size = size
    with pytest.raises(CostmodelError) as error:
        costmodel.load(module)
    assert f"image_size is {told}; allowed: an integer >= 1" in str(error.value)
