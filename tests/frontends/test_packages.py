"""Packages of networks: torchvision is imported whether or not its C library fits torch, and what is wrong is said.

The packages stand in for torchvision and timm, in a folder that is searched first.
"""

import subprocess
import sys

import pytest
import torch

from costmodel.errors import CostmodelError
from costmodel.frontends import names_of
from costmodel.frontends.modules.imports import what_is_wrong

MISFIT = 'import torch\nfrom . import extension\ntorch.library.register_fake("torchvision::{}")(lambda *_: None)\n'
#: A C library that loads declares its operators itself, which is an error if they are already declared.
WHOLE = """\
import torch
schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
library = torch.library.Library("torchvision", "DEF")
library.define("nms" + schema)
library.define("qnms" + schema)
"""
MODELS = """\
import torchvision
from torch import nn
def list_models(**_):
    return ["net"]
def create_model(name, **_):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
"""
LATE = """\
def build():
    from timm import create_model
    return create_model("net")
"""


@pytest.fixture
def run_with(tmp_path):
    """Runs code in a fresh interpreter that finds the given files, by path, before any package of the same name."""

    def run(files, code):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def torchvision(text):
    return {"torchvision/__init__.py": text, "torchvision/extension.py": ""}


def test_a_c_library_that_does_not_fit_is_done_without(run_with):
    code = (
        "try:\n    import torchvision\nexcept RuntimeError:\n    pass\n"  # what was half imported is in nobody's way
        "import costmodel\n"
        "assert costmodel.load('late:build').graph.classifier == '3'\n"
        "assert costmodel.load('timm:net').graph.classifier == '3'\n"
        "import torchvision, timm.models\n"
        "assert torchvision.extension and timm.models\n"  # none is left out of the package that was imported anew
    )
    timm = {"timm/__init__.py": "from . import models\n" + MODELS, "timm/models.py": "", "late.py": LATE}
    run_with({**torchvision(MISFIT.format("nms")), **timm}, code)


def test_a_c_library_that_fits_declares_its_operators_itself(run_with):
    code = "from costmodel.frontends.modules.sources import build\nassert len(build('own', 'build', None)[0]) == 4\n"
    run_with({**torchvision(WHOLE), "own.py": MODELS + "build = lambda: create_model('net')\n"}, code)


def test_a_torchvision_that_cannot_be_helped_is_told_with_its_release_and_torchs(run_with):
    metadata = {"torchvision-0.1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1.2\n"}
    code = (
        "import costmodel\n"
        "for name in ('torchvision:net', 'own:build'):\n"
        "    try:\n"
        "        costmodel.load(name)\n"
        "    except costmodel.CostmodelError as error:\n"
        "        print(error)\n"
    )
    told = run_with({**torchvision(MISFIT.format("another")), **metadata, "own.py": MODELS}, code).splitlines()
    wrong = (
        f"torchvision 0.1.2 is installed, but its C library does not fit torch {torch.__version__}: operator "
        "torchvision::another does not exist; install the torchvision that was made for this torch"
    )
    assert told == [wrong, f"cannot import 'own': {wrong}"]


@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_a_library_that_is_not_there_is_told_with_what_installs_it(monkeypatch, name):
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(CostmodelError, match=f"^{name} is not installed: pip install {name}$"):
        names_of(name)


def test_what_a_library_needs_is_told_with_what_installs_it():
    missing = ModuleNotFoundError("No module named 'torchvision'", name="torchvision")
    assert what_is_wrong("timm", missing) == "timm needs torchvision, which is not installed: pip install torchvision"


def test_another_trouble_is_told_as_it_is():
    wrong = what_is_wrong("timm", ModuleNotFoundError("No module named 'PIL'", name="PIL"))
    assert wrong.startswith("timm ") and wrong.endswith(" is installed, but cannot be imported: No module named 'PIL'")
    assert what_is_wrong("a_folder", ImportError("no")) == "a_folder is installed, but cannot be imported: no"
