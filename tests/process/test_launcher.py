"""`python -m costmodel.frugal` and `costmodel.pytorch.frugal`: what runs, and what stays out of the process."""

import subprocess
import sys

import pytest
from test_heap import needs_compiler

import costmodel.frugal

SCRIPT = """
import sys
from costmodel.pytorch import frugal
from costmodel.heap.library import is_loaded
import torch
print(sys.argv[1:], __name__, is_loaded())
model = torch.nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(1, 3)).sum().backward()
optimizer.step()
dynamo = lambda: type(sys.modules["torch._dynamo"]).__name__
print(dynamo(), frugal().dynamo, abs(float(model.bias.grad[0])))
print(torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item())
import torch._dynamo.config
from torch.utils.checkpoint import checkpoint
x = torch.ones(1, requires_grad=True)
checkpoint(lambda t: t * t, x, use_reentrant=False).backward()
print(x.grad.item(), dynamo())
"""
SAID = ["_Dynamo True 1.0", "2.0", "2.0 module"]


def run(*arguments, **variables):
    import os

    command = [sys.executable, "-m", "costmodel.frugal", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})


@needs_compiler
def test_a_script_runs_with_the_heap_and_without_dynamo(tmp_path):
    """Optimizers do not import torch._dynamo; torch.compile and checkpoints do, and work."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    told = run(script, "a", "--b")
    assert told.stdout.splitlines() == ["['a', '--b'] __main__ True", *SAID], told.stderr


def test_without_the_heap_a_script_runs_all_the_same(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    told = run(script, CC="no-such-compiler", XDG_CACHE_HOME=str(tmp_path), TMPDIR=str(tmp_path))
    assert told.stdout.splitlines() == ["[] __main__ False", *SAID], told.stderr
    assert "the C library's heap stays" in told.stderr and "Traceback" not in told.stderr


COMPILED = """
import importlib.util
import sys
import torch
if "frugal" in sys.argv:
    from costmodel.pytorch import frugal
    frugal()
assert importlib.util.find_spec("torch._dynamo") is not None
optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)
import torch._dynamo.config as config
import torch._dynamo.eval_frame as eval_frame
assert config is eval_frame.config is torch._dynamo.config
graphs = []
def counted(graph, inputs):
    graphs.append(graph)
    return graph.forward
@torch.compiler.disable
def secret(x):
    return x * 3
@torch.compile(backend=counted)
def f(x):
    return secret(x + 1) - 2
assert f(torch.ones(1)).item() == 4
print(len(graphs))
"""


@pytest.mark.slow
def test_what_is_compiled_is_what_runs():
    """torch.compile cuts a function where it does without frugal(), and its settings are one module, whoever asks."""
    commands = [[sys.executable, "-c", COMPILED, *given] for given in ([], ["frugal"])]
    plain, frugal = [subprocess.run(command, capture_output=True, text=True) for command in commands]
    assert plain.returncode == frugal.returncode == 0, plain.stderr + frugal.stderr
    assert plain.stdout == frugal.stdout != ""


@needs_compiler
def test_a_script_is_the_main_module_to_the_end(tmp_path):
    """What runs when the interpreter ends still finds the script's own functions; flags of the interpreter hold."""
    script = tmp_path / "late.py"
    script.write_text("import atexit, pickle, sys\ndef own(): return 1\nprint(__file__, sys.flags.optimize)\n"
                      "atexit.register(lambda: print(pickle.loads(pickle.dumps(own))()))\n")  # fmt: skip
    command = [sys.executable, "-O", "-m", "costmodel.frugal", "late.py"]
    told = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert told.stdout.split() == [str(script), "1", "1"], told.stderr


@pytest.mark.parametrize("arguments", [(), ("-m",), ("nonesuch.py",), ("-c", "1")])
def test_without_a_script_it_says_how(arguments):
    told = run(*arguments)
    assert costmodel.frugal.main([*arguments]) == 2
    assert told.returncode == 2 and told.stderr.startswith("usage: python -m costmodel.frugal SCRIPT.py")


def test_a_module_runs_too(tmp_path):
    (tmp_path / "own.py").write_text("import sys\nprint(__name__, sys.argv[1:])\nsys.exit(3)\n")
    told = run("-m", "own", "x", PYTHONPATH=str(tmp_path), CC="no-such-compiler", XDG_CACHE_HOME=str(tmp_path),
               TMPDIR=str(tmp_path))  # fmt: skip
    assert (told.returncode, told.stdout) == (3, "__main__ ['x']\n"), told.stderr
