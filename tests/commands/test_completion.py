"""What a shell offers: asked as shells ask, through click."""

import pytest
from click.shell_completion import ShellComplete
from commandline import CliRunner

import costmodel
from costmodel.cli import COMMANDS, main
from costmodel.completion import completing
from costmodel.conventions import CONVENTIONS
from costmodel.files.shipped import shipped_names
from costmodel.frontends import names_of
from costmodel.frontends.modules.catalogue import library_names, names_in_file


def offered(*words):
    """What the last word may become behind the others."""
    *before, incomplete = words
    asked = ShellComplete(main, {}, "costmodel", "_COSTMODEL_COMPLETE")
    return [item.value for item in asked.get_completions(before, incomplete)]


def test_an_offer_that_fails_offers_nothing():
    def fails(*_):
        raise ZeroDivisionError

    parameter = main.get_command(main.make_context("costmodel", ["list"]), "report").params[0]
    assert completing(fails)(main.make_context("costmodel", ["list"]), parameter, "") == []


def test_commands():
    assert offered("") == list(COMMANDS)
    assert offered("rep") == ["report"] and offered("rport", "") == list(COMMANDS)


@pytest.mark.parametrize("command", ["report", "compare", "fit", "sweep", "plan", "export", "validate", "explain"])
def test_networks(command):
    assert offered(command, "mobilenet_v3") == [n for n in shipped_names("networks") if n.startswith("mobilenet_v3")]
    assert {"mobilenet_v2", "timm:", "torchvision:"} <= {*offered(command, "")}


def test_files_that_may_be_networks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("net.onnx", "net.yaml", "net.py", "net.txt", "mine/inner.py", "mine/other.yml"):
        (tmp_path / name).write_text("class Net: pass\ndef build(): pass\nnet = Net()\n_hidden = 1\n")
    assert offered("report", "net") == ["net.onnx", "net.py", "net.yaml"]
    assert offered("report", "mi") == ["mine/inner.py", "mine/other.yml"]
    assert offered("report", "mine/o") == ["mine/other.yml"]
    assert offered("report", "net.py:") == ["net.py:Net", "net.py:build", "net.py:net"]
    assert names_in_file("nowhere.py") == [] and offered("report", "no/where/") == []


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_the_names_that_are_read_in_a_library_are_all_of_its_names(library):
    pytest.importorskip(library)
    assert sorted(names_of(library)) == library_names(library)
    name = library_names(library)[5]
    assert f"{library}:{name}" in offered("report", f"{library}:{name[:3]}")
    assert len(offered("report", library[:4])) == len(library_names(library))  # no space after the colon


def test_a_library_that_is_not_there_has_no_names():
    assert library_names("no_such_library") == []


def test_strategies():
    assert offered("report", "mobilenet_v2", "--strategy", "mob") == ["mobiletl:"]
    assert offered("report", "mobilenet_v2", "--strategy", "blocks:1") == [
        "blocks:1",
        *(f"blocks:{k}" for k in range(10, 18)),
    ]
    assert offered("report", "mobilenet_v2", "--strategy", "mobiletl:2,n") == ["mobiletl:2,norm="]
    assert offered("report", "mobilenet_v2", "--strategy", "full,b") == []
    assert offered("compare", "mobilenet_v2", "--strategy", "full,bi") == ["full,bias"]
    assert offered("compare", "timm:mnasnet_100", "--strategy", "blocks:") == []  # nothing is built for it
    for strategy in offered("compare", "mobilenet_v2", "--strategy", "full,"):
        if not strategy.endswith((":", "=")) and "as_is" not in strategy:
            names = [one for one in strategy.split(",") if "tinytl" not in one]
            assert [costmodel.estimate("mcunet_5fps", one, convention="lean") for one in names]
    assert offered("report", "mobilenet_v2", "--strategy", "blocks:3+q") == ["blocks:3+quantised"]
    assert offered("report", "mobilenet_v2", "--strategy", "blocks:3+quantised,") == ["blocks:3+quantised,bits="]


def test_other_options():
    assert offered("report", "x", "--convention", "") == list(CONVENTIONS)
    assert offered("sweep", "x", "--convention", "torch,le") == ["torch,lean"]
    assert offered("report", "x", "--optimizer", "mo") == ["momentum"]
    assert offered("report", "x", "--optimizer", "adam,") == ["adam,foreach", "adam,fused", "adam,in_place"]
    assert offered("report", "x", "--optimizer", "rmsprop,f") == ["rmsprop,foreach"]
    assert offered("report", "x", "--optimizer", "adam,foreach,") == []
    assert offered("sweep", "x", "--optimizer", "adam,s") == ["adam,sgd"]
    assert offered("sweep", "x", "--optimizer", "sgd,adam,foreach,m") == ["sgd,adam,foreach,momentum"]
    assert offered("report", "x", "--dtype", "f") == ["float32", "float16", "fp32", "float", "fp16"]
    assert offered("report", "x", "--target", "c") == ["cpu", "cuda"]
    assert offered("report", "x", "--target", "cpu,threads=2,") == [
        "cpu,threads=2,isa=",
        "cpu,threads=2,cores=",
        "cpu,threads=2,channels_last",
    ]
    assert offered("list", "tar") == ["targets"]
    assert "latex" in offered("report", "x", "--format", "")


def test_layers():
    assert offered("explain", "mobilenet_v2", "features.2.conv.0.") == [f"features.2.conv.0.{i}" for i in range(3)]
    assert {"stem", "features.17", "classifier"} <= {*offered("explain", "mobilenet_v2", "")}
    assert offered("explain", "timm:mnasnet_100", "") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_every_shell_has_a_script(shell):
    result = CliRunner().invoke(main, prog_name="costmodel", env={"_COSTMODEL_COMPLETE": f"{shell}_source"})
    assert result.exit_code == 0 and f"_COSTMODEL_COMPLETE={shell}_complete" in result.stdout
