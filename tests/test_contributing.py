"""What CONTRIBUTING.md says of adding something: each of its diffs is applied to a copy, and gives what is promised."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DIFFS = dict(re.findall(r"^### (.+?)\n(?:(?!^###).)*?^```diff\n(.*?)^```", PAGE, flags=re.S | re.M))
#: What one interpreter tells of the copy to which every diff has been applied: under the heading, pairs to be equal.
FACTS = """
import json
import torch
from torch import nn
import costmodel
from costmodel.pytorch.measure import measure
from costmodel.pytorch.realize import realize
from costmodel.pytorch.validate import validate

torch.manual_seed(0)
step = {"batch": 2, "resolution": 8}
head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 500)]


class Atan(nn.Module):
    def forward(self, x):
        return x.atan()


module = nn.Sequential(nn.Conv2d(3, 8, 3), Atan(), nn.Conv2d(8, 8, 3), Atan(), *head)


def op():
    found = costmodel.estimate(module, target="none", **step)
    real = measure(module, **step)
    lean = validate(costmodel.load(module), "full", 2, 8, "lean")
    return {
        "kinds": [[node.op.kind for node in found.graph.nodes][1:4:2], ["atan", "atan"]],
        "saved": [found.saved_bytes, real.saved_bytes],
        "peak": [found.step_peak_bytes, real.tensor_peak_bytes],
        **{f"lean {check.quantity}": [check.predicted, check.measured] for check in lean},
    }


def strategy():
    network = costmodel.load("mobilenet_v2")
    trained = sum(
        parameter.numel()
        for path, layer in realize(network, "full").named_modules()
        if getattr(layer, "groups", 1) > 1 or path == network.graph.classifier
        for parameter in layer.parameters()
    )
    checks = validate(network, "depthwise", 2, 33)
    return {
        "by hand": [costmodel.estimate(network, "depthwise").trainable_parameters, trained],
        **{check.quantity: [check.predicted, check.measured] for check in checks},
    }


def convention():
    outputs = {}  # holds the storages, so that no address is given out twice
    layers = [layer for layer in module.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(lambda *call: outputs.update(
        {call[-1].untyped_storage().data_ptr(): call[-1].untyped_storage()})) for layer in layers]
    module(torch.randn(2, 3, 8, 8))
    for hook in hooks:
        hook.remove()
    found = costmodel.estimate(module, convention="outputs", **step)
    loss = 4
    return {"saved": [found.saved_bytes, loss + sum(storage.nbytes() for storage in outputs.values())]}


def target():
    asked = "mobilenet_v2", "full", 2, 65
    bare = costmodel.estimate(*asked, target="none")
    level = highest = 0
    for event in bare.memory.timeline.events:
        level += event.sign * -(-int(bare.memory.sizes[event.slot]) // 16) * 16
        highest = max(highest, level)
    try:
        refused = str(measure(module, target="arena", **step))
    except costmodel.CostmodelError as error:
        refused = str(error)
    return {
        "peak": [costmodel.estimate(*asked, target="arena").step_peak_bytes, highest],
        "rounded": [highest > bare.step_peak_bytes, True],
        "measured": [refused, "target 'arena' counts and is nowhere to run; allowed: cpu, cuda"],
    }


def optimizer():
    found = costmodel.estimate(module, optimizer="adamax", target="none", **step)
    real = measure(module, optimizer="adamax", **step)
    at_once = costmodel.estimate(module, optimizer="adamax,foreach", **step)
    torchs = torch.optim.Adamax(module.parameters())
    module(torch.randn(2, 3, 8, 8)).sum().backward()
    torchs.step()
    state = [value for values in torchs.state.values() for value in values.values()]
    return {
        "state": [found.memory_bytes["optimizer"], sum(tensor.nbytes for tensor in state)],
        "where": [found.peak_at["phase"], "update"],
        "peak": [found.step_peak_bytes, real.tensor_peak_bytes],
        "peak at once": [at_once.step_peak_bytes, measure(module, optimizer="adamax,foreach", **step).step_peak_bytes],
        "left": [found.left_bytes, real.left_bytes],
    }


def column():
    axes = {"strategy": ["full", "full,checkpoint=blocks"], "batch": [1, 2, 3, 8, 64]}
    sweep = costmodel.sweep("mobilenet_v2", resolution=33, **axes)
    cells = [(strategy, batch) for strategy in axes["strategy"] for batch in axes["batch"]]
    one_by_one = [costmodel.estimate("mobilenet_v2", *cell, 33).flops["recomputed"] for cell in cells]
    return {
        "cells": [sweep.to_dict()["recomputed_flops"], one_by_one],
        "there": [[flops > 0 for flops in one_by_one], [False] * 5 + [True] * 5],
    }


facts = {"An op": op, "A strategy": strategy, "A convention": convention, "A target": target, "An optimizer": optimizer,
         "A column of sweeps": column}
print(json.dumps({"from": costmodel.__file__, **{heading: fact() for heading, fact in facts.items()}}))
"""


def lines_of(diff):
    """The files of a diff, each with whether it is new and the lines that go and that come."""
    files = {}
    for before, after, hunks in re.findall(
        r"^--- (\S+)\n\+\+\+ b/(\S+)\n((?:[@ +\-].*\n|\n)+?)(?=^---|\Z)", diff, re.M
    ):
        marks = [line[:1] for line in hunks.splitlines()]
        files[after] = (before == "/dev/null", marks.count("-"), marks.count("+"))
    return files


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A copy of the package with every diff applied to it, one after the other."""
    place = tmp_path_factory.mktemp("changed")
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "costmodel", place / "costmodel", ignore=unwanted)
    shutil.copytree(ROOT / "specs", place / "costmodel" / "specs", ignore=unwanted)
    tools = {"git": ["git", "apply", "-"], "patch": ["patch", "-p1"]}
    tool = next((command for name, command in tools.items() if shutil.which(name)), None)
    if tool is None:
        pytest.skip("neither git nor patch is here to apply a diff")
    # No repository around the copy, nor one that a git hook names, has a say.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(place.parent)
    for heading, diff in DIFFS.items():
        run = subprocess.run(tool, input=diff, cwd=place, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, f"{heading}: {run.stdout}{run.stderr}"
    return place


@pytest.fixture(scope="module")
def facts(changed):
    """What the changed copy says of itself and of real steps."""
    environment = {**os.environ, "PYTHONPATH": str(changed)}
    run = subprocess.run([sys.executable, "-c", FACTS], cwd=changed, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert Path(found.pop("from")).parent == changed / "costmodel"
    return found


def test_every_heading_of_additions_has_one_diff():
    headings = re.findall(r"^### (.+)$", PAGE, flags=re.M)
    assert list(DIFFS) == headings and len(headings) >= 5
    assert PAGE.count("```diff") == len(headings)


@pytest.mark.parametrize("heading", DIFFS)
def test_a_change_touches_one_place_and_at_most_an_entry_of_a_registry(heading):
    files = lines_of(DIFFS[heading])
    assert DIFFS[heading].count("+++ b/") == len(files)
    places = [path for path in files if not path.endswith("__init__.py")]
    assert len(places) == 1 and all(path.startswith("costmodel/") for path in files)
    for path, (new, gone, come) in files.items():
        assert (new, gone, come) == (False, 1, 1) if path.endswith("__init__.py") else gone == 0
    assert sum(come for _, _, come in files.values()) <= 25


def test_the_changed_files_compile_and_their_lines_fit(changed):
    for path in {path for diff in DIFFS.values() for path in lines_of(diff)}:
        source = (changed / path).read_text(encoding="utf-8")
        compile(source, path, "exec")
        assert max(map(len, source.splitlines())) <= 120


@pytest.mark.parametrize("heading", DIFFS)
def test_the_change_gives_what_the_page_says(heading, facts):
    wrong = {name: pair for name, pair in facts[heading].items() if pair[0] != pair[1]}
    assert facts[heading] and wrong == {}
