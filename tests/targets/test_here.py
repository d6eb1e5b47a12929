"""What is found out of this machine for a target that leaves it out. Other machines are simulated."""

import platform
import sys
from importlib.machinery import ModuleSpec

import pytest
from commandline import CliRunner

import costmodel
from costmodel.cli import main
from costmodel.errors import CostmodelError
from costmodel.targets import cpu, machine, parse, threads, usual_target
from costmodel.targets.machine import AVX512_BF16, NEON, UNKNOWN, here_isa, numpy_features

PI = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n"
GRACE = PI.replace("crc32", "crc32 sve sve2")
X86 = "processor\t: 0\nflags\t\t: fpu sse4_1 {more}\n"
SKX = "avx2 avx512f avx512bw avx512vl avx512dq"


@pytest.fixture
def simulated(monkeypatch, tmp_path):
    """A function that makes this machine another one. library: whether torch's folder has Compute Library."""

    def simulate(kind, cpuinfo=None, library=True, cores=4):
        (tmp_path / "lib").mkdir(exist_ok=True)
        (tmp_path / "lib" / "libarm_compute.so").write_bytes(b"")
        spec = ModuleSpec("torch", None, is_package=True)
        spec.submodule_search_locations = [str(tmp_path)] if library else []
        monkeypatch.setattr(platform, "machine", lambda: kind)
        monkeypatch.setattr(machine, "find_spec", lambda name: spec)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DYNAMIC", *machine.LIMITS):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setitem(sys.modules, "torch", None)  # not loaded
        monkeypatch.setattr(threads, "CPUS", tmp_path / "cpus")
        (tmp_path / "cpus").mkdir(exist_ok=True)
        (tmp_path / "cpus" / "present").write_text(f"0-{cores - 1}\n")
        monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
        path = tmp_path / "cpuinfo"
        monkeypatch.setattr(machine, "CPUINFO", str(path))
        if cpuinfo is not None:
            path.write_text(cpuinfo)

    return simulate


def test_a_raspberry_pi(simulated):
    simulated("aarch64", PI)
    assert here_isa() == NEON
    assert parse("cpu").text == "cpu,threads=4,isa=neon,cores=4"
    assert parse("cpu,threads=1").text == "cpu,threads=1,isa=neon,cores=4"  # the scheduler's threads stay
    assert str(parse("cpu,threads=1")) == "cpu (neon, 1 thread on 4 cores, contiguous)"
    assert parse("cpu,isa=avx2").text == "cpu,threads=4,isa=avx2"


@pytest.mark.parametrize("kind, cpuinfo, library", [
    ("arm64", None, True),  # macOS: no such file
    ("aarch64", GRACE, True),  # SVE
    ("aarch64", PI, False),  # a build without Compute Library
    ("armv7l", PI, True),  # 32 bits
    ("riscv64", "", True),
])  # fmt: skip
def test_what_is_not_modelled_takes_no_other_machines_rules(simulated, kind, cpuinfo, library):
    simulated(kind, cpuinfo, library)
    assert here_isa() == UNKNOWN and parse("cpu").text == "cpu,threads=4,isa=unknown"


@pytest.mark.parametrize("more, isa", [
    ("avx2 avx512f avx512bw avx512vl avx512dq", "avx512"), ("avx2", "avx2"), ("avx512f", "sse41"), ("", "sse41"),
    (f"{SKX} avx512_bf16", AVX512_BF16), (f"{SKX} avx512_bf16 amx_bf16", "avx512"),
    (f"{SKX} avx512_bf16 avx512_fp16", "avx512"),
])  # fmt: skip
def test_x86(simulated, more, isa):
    simulated("x86_64", X86.format(more=more))
    assert here_isa() == isa


@pytest.mark.parametrize("here, limits, isa", [
    (f"{SKX} avx512_bf16", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "avx2"),
    (f"{SKX} avx512_bf16", {"ONEDNN_MAX_CPU_ISA": "avx512_core"}, "avx512"),
    (f"{SKX} avx512_bf16", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, AVX512_BF16),
    (f"{SKX} avx512_bf16", {"ONEDNN_MAX_CPU_ISA": "NONSENSE"}, AVX512_BF16),
    (SKX, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "avx512"), ("avx2", {"ONEDNN_MAX_CPU_ISA": "ALL"}, "avx2"),
    ("avx2", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "avx2"), ("avx2", {"DNNL_MAX_CPU_ISA": "AVX"}, "sse41"),
    ("avx2", {"ONEDNN_MAX_CPU_ISA": "", "DNNL_MAX_CPU_ISA": "SSE41"}, "sse41"),
    (SKX, {"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "SSE41"}, "avx2"),
])  # fmt: skip
def test_the_environment_limits_x86(simulated, monkeypatch, here, limits, isa):
    """As a run's bytes on a machine with avx512_bf16 say, torch 2.13: an empty value and nonsense limit nothing."""
    simulated("x86_64", X86.format(more=here))
    for name, value in limits.items():
        monkeypatch.setenv(name, value)
    assert here_isa() == isa and parse("cpu").isa == isa


@pytest.mark.parametrize("features, isa", [
    ({"AVX512_SKX": True, "AVX2": True, "SSE41": True}, "avx512"), ({"X86_V4": True, "X86_V3": True}, "avx512"),
    ({"AVX2": True, "SSE41": True, "AVX512F": True}, "avx2"), ({"SSE41": True, "AVX2": False}, "sse41"), ({}, UNKNOWN),
])  # fmt: skip
def test_windows_asks_numpy(simulated, monkeypatch, features, isa):
    simulated("AMD64")  # there is no file that tells it
    core = sys.modules.get("numpy._core") or sys.modules["numpy.core"]
    monkeypatch.setattr(core._multiarray_umath, "__cpu_features__", features)
    assert here_isa() == isa


def test_numpy_knows_this_processor():
    if platform.machine() in ("x86_64", "AMD64"):
        # numpy does not tell of instructions for bfloat16
        assert machine.x86_isa(numpy_features()) == {AVX512_BF16: "avx512"}.get(here_isa(), here_isa())


def test_a_machine_without_torch(simulated, monkeypatch):
    simulated("aarch64", PI)
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert here_isa() == UNKNOWN
    monkeypatch.setattr(machine, "find_spec", lambda name: (_ for _ in ()).throw(ValueError("torch.__spec__ is None")))
    assert here_isa() == UNKNOWN


@pytest.mark.parametrize("name", ["mcunet_5fps", "mobilenet_v2"])
def test_kernels_of_an_unknown_processor_are_not_modelled(monkeypatch, name):
    """The tensors alone are counted, in all ops: a linear layer may copy its weights too."""
    monkeypatch.setattr(cpu, "here_isa", lambda: UNKNOWN)
    assert cpu.Cpu.here().isa == UNKNOWN
    step = {"batch": 2, "resolution": 33}
    found = costmodel.estimate(name, "full", target="cpu,isa=unknown,threads=1", **step)
    alone = costmodel.estimate(name, "full", target="none", **step)
    x86 = costmodel.estimate(name, "full", target="cpu,isa=avx2,threads=1", **step)
    assert found.certainty.step_peak == "not_modelled" and x86.certainty.step_peak == "rule"
    assert alone.step_peak_bytes == found.step_peak_bytes <= x86.step_peak_bytes
    assert "cpu (unknown, 1 thread, contiguous) is not modelled, so only the tensors are counted" in found.notes[-1]
    assert costmodel.estimate(name, "last", target="cpu,isa=unknown", **step).certainty.step_peak == "not_modelled"
    grid = costmodel.sweep(name, ["full", "last"], [2, 3], [33, 64], target="cpu,isa=unknown,threads=1")
    assert set(grid.step_peak_certainty) == {"not_modelled"} and set(grid.certainty) == {"rule"}


# -- the target where none is given ------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


PI_TARGET = "cpu,isa=neon,threads=4"


def test_the_environment_names_the_usual_target(monkeypatch):
    monkeypatch.setenv("COSTMODEL_TARGET", PI_TARGET)
    assert usual_target() == PI_TARGET
    step = {"batch": 2, "resolution": 33}
    here = costmodel.estimate("mcunet_5fps", "full", **step)
    assert here.request.target == parse(PI_TARGET)
    assert costmodel.estimate("mcunet_5fps", "full", target="none", **step).request.target == parse("none")
    assert set(costmodel.sweep("mcunet_5fps", "last", 2, 33).target) == {parse(PI_TARGET).text}
    plan = costmodel.plan("mcunet_5fps", budget="1GB", **step)
    assert plan.estimate.request.target == parse(PI_TARGET)
    for command in (("report",), ("fit", "--budget", "1GB"), ("plan", "--budget", "1GB"), ("compare",), ("sweep",)):
        told = run(command[0], "mcunet_5fps", *command[1:], "--format", "json", "--resolution", 33)
        assert "neon" in told.stdout, told.output
    assert "avx2" in run("report", "mcunet_5fps", "--target", "cpu,isa=avx2").stdout


def test_a_wrong_target_of_the_environment_says_where_it_stands(monkeypatch):
    monkeypatch.setenv("COSTMODEL_TARGET", "raspberry")
    told = run("report", "mcunet_5fps")
    assert told.exit_code == 2 and "COSTMODEL_TARGET: target 'raspberry': unknown device" in told.stderr
    with pytest.raises(CostmodelError, match="COSTMODEL_TARGET"):
        costmodel.estimate("mcunet_5fps")
    monkeypatch.setenv("COSTMODEL_TARGET", "")
    assert usual_target() == "cpu"


@pytest.mark.parametrize("text, found", [
    ("cpu", ("threads", "isa")), ("cpu,threads=2", ("isa",)), ("cpu,isa=avx2", ("threads",)),
    ("cpu,threads=2,isa=avx2", ()), ("none", ()), ("cuda", ()),
])  # fmt: skip
def test_what_was_found_out_of_this_machine(text, found):
    assert parse(text).detected == found
    assert parse(parse(text).text) == parse(text) and parse(parse(text).text).detected == ()


@pytest.mark.parametrize("command", [
    ("report", "mcunet_5fps"), ("fit", "mcunet_5fps"), ("plan", "mcunet_5fps"), ("compare", "mcunet_5fps"),
])  # fmt: skip
def test_a_budget_that_is_held_against_this_machine_says_so(command):
    words = "The budget is held against this machine's "
    assert words in run(*command, "--budget", "1GB").stdout
    assert words not in run(*command, "--budget", "1GB", "--target", "cpu,threads=2,isa=avx2").stdout
    if command[0] in ("report", "compare"):
        assert words not in run(*command).stdout


def test_checks_say_so_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check = '[[tool.costmodel.check]]\nnetwork = "mcunet_5fps"\nbudget = "1GB"\n'
    for more, there in (("", True), ('target = "cpu,threads=1,isa=avx2"\n', False)):
        (tmp_path / "pyproject.toml").write_text(check + more)
        assert ("The budget is held against this machine's threads and isa" in run("check").stdout) == there


def test_a_text_names_the_same_target_on_any_machine(simulated):
    simulated("aarch64", PI)
    assert parse("cpu,isa=neon,threads=2").text == "cpu,threads=2,isa=neon"


@pytest.mark.parametrize("folder", ["torch/lib", "torch.libs"])
def test_compute_library_is_found_in_torch_and_beside_it(folder, monkeypatch, tmp_path):
    spec = ModuleSpec("torch", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "torch")]
    monkeypatch.setattr(machine, "find_spec", lambda name: spec)
    assert not machine.has_compute_library()
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "libarm_compute-aba2dfc7.so").write_bytes(b"")
    assert machine.has_compute_library()
