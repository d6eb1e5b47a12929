"""How many threads torch takes: the rules on simulated machines, and this machine's torch as their oracle."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from costmodel.errors import CostmodelError
from costmodel.targets import machine, parse, threads
from costmodel.targets.threads import physical_cores, threads_at_start, threads_of_scheduler, threads_of_torch

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DYNAMIC")
has_affinity = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system tells no affinity")


@pytest.fixture
def of(monkeypatch, tmp_path):
    """A function that makes this machine one of so many hardware threads, two to a core, of which some are allowed."""
    monkeypatch.setitem(sys.modules, "torch", None)  # not loaded
    monkeypatch.setattr(threads, "CPUS", tmp_path)

    def make(numbers, allowed, **given):
        (tmp_path / "present").write_text(f"0-{numbers - 1}\n")
        for number in range(numbers):  # as Linux numbers them: the second threads of all cores come last
            core = number % (numbers // 2)
            (tmp_path / f"cpu{number}" / "topology").mkdir(parents=True)
            (tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list").write_text(
                f"{core},{core + numbers // 2}\n"
            )
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(allowed), raising=False)
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return make


@pytest.mark.parametrize("allowed, given, expected", [
    (range(16), {}, 8),  # not 16: two hardware threads to a core
    ((0, 8), {}, 1), ((0, 1, 8), {}, 2), ((3,), {"OMP_NUM_THREADS": "4"}, 1),
    (range(16), {"OMP_NUM_THREADS": "6"}, 6), (range(16), {"OMP_NUM_THREADS": "12"}, 8),
    (range(16), {"OMP_NUM_THREADS": "12", "MKL_DYNAMIC": "false"}, 12),
    (range(16), {"OMP_NUM_THREADS": "6", "MKL_NUM_THREADS": "3"}, 3),
    (range(16), {"OMP_NUM_THREADS": "5,2"}, 5), (range(16), {"OMP_NUM_THREADS": "many"}, 8),
    (range(16), {"OMP_NUM_THREADS": "5", "MKL_NUM_THREADS": "0"}, 5),
])  # fmt: skip
def test_x86(of, allowed, given, expected):
    of(16, allowed, **given)
    assert threads_at_start(x86=True) == threads_of_torch(x86=True) == expected


@pytest.mark.parametrize("given, of_torch, of_scheduler", [
    ({}, 4, 2), ({"OMP_NUM_THREADS": "3"}, 3, 3), ({"MKL_NUM_THREADS": "3"}, 3, 2),
    ({"OMP_NUM_THREADS": "8"}, 8, 8), ({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "4"}, 4, 1),
])  # fmt: skip
def test_arm(of, given, of_torch, of_scheduler):
    """Four cores, of which the process may use two: as torch 2.9 says under emulation of a Cortex-A76."""
    of(4, (0, 1), **given)
    assert (threads_at_start(x86=False), threads_of_scheduler()) == (of_torch, of_scheduler)


def test_more_threads_than_a_target_takes_are_refused(of):
    of(4, range(4), OMP_NUM_THREADS="1024", MKL_DYNAMIC="FALSE")
    assert threads_at_start(x86=True) == threads_at_start(x86=False) == 1024
    os.environ["OMP_NUM_THREADS"] = "1025"
    with pytest.raises(CostmodelError, match="OMP_NUM_THREADS is 1025; allowed: 1 to 1024"):
        threads_at_start(x86=True)


@pytest.mark.parametrize("value", ["-1", "abc", "2x"])
def test_what_mkl_takes_for_one_thread_is_refused(of, value):
    of(4, range(4), MKL_NUM_THREADS=value)
    with pytest.raises(CostmodelError, match=f"MKL_NUM_THREADS is '{value}'; allowed: 1 to 1024"):
        threads_at_start(x86=True)


def test_torch_is_asked_where_the_system_tells_no_cores(monkeypatch, tmp_path):
    """On Windows, say: two hardware threads of a core look like two cores there."""
    torch = SimpleNamespace(get_num_threads=lambda: 5)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(threads, "CPUS", tmp_path / "nothing")
    monkeypatch.setattr(threads, "import_module", lambda name: torch)
    monkeypatch.setattr(machine, "find_spec", lambda name: torch)
    assert threads_of_torch(x86=True) == 5
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert threads_of_torch(x86=True) == threads_at_start(x86=True)


def test_a_loaded_torch_is_asked():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            assert parse("cpu").threads == threads_of_torch(x86=True) == count
    finally:
        torch.set_num_threads(before)


PRICED = "from costmodel.targets import parse; print(parse('cpu').threads)"


@has_affinity
@pytest.mark.parametrize("given", [
    {}, {"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "1000"}, {"MKL_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "1,2"},
    {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": ""}, {"OMP_NUM_THREADS": "3", "MKL_DYNAMIC": "FALSE"},
    pytest.param({"OMP_NUM_THREADS": "3", "MKL_DYNAMIC": "0"}, marks=pytest.mark.slow),
    pytest.param({"MKL_NUM_THREADS": "1000"}, marks=pytest.mark.slow),
    pytest.param({"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "0"}, marks=pytest.mark.slow),
], ids=str)  # fmt: skip
def test_torch_begins_with_what_is_said_before_it_is_loaded(given):
    torch = pytest.importorskip("torch")
    if not torch.backends.mkl.is_available() and platform.machine().lower() in ("x86_64", "amd64"):
        pytest.skip("this torch of x86 is built without MKL")
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment = {**kept, **given}
    said, taken = (int(printed(code, environment)) for code in (PRICED, "import torch; print(torch.get_num_threads())"))
    assert said == taken


def printed(code, environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_cores_that_are_allowed_are_counted_once():
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
