"""What is found out of this machine for a target that leaves it out."""

import pytest

import costmodel
from costmodel.errors import CostmodelError
from costmodel.targets import cpu
from costmodel.targets.cpu import here_threads


def test_more_threads_than_a_target_takes_are_refused(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1024")
    assert here_threads() == 1024
    monkeypatch.setenv("OMP_NUM_THREADS", "1025")
    with pytest.raises(CostmodelError, match="OMP_NUM_THREADS is 1025; allowed: 1 to 1024"):
        here_threads()


def test_kernels_of_an_unknown_processor_are_not_modelled(monkeypatch):
    monkeypatch.setattr(cpu, "here_isa", lambda: None)
    assert cpu.Cpu.here().isa == cpu.UNKNOWN
    step = {"batch": 2, "resolution": 33}
    found = costmodel.estimate("mcunet_5fps", "full", target="cpu,isa=unknown,threads=1", **step)
    alone = costmodel.estimate("mcunet_5fps", "full", target="none", **step)
    x86 = costmodel.estimate("mcunet_5fps", "full", target="cpu,isa=avx2,threads=1", **step)
    assert found.certainty.step_peak == "not_modelled" and x86.certainty.step_peak == "rule"
    assert alone.step_peak_bytes <= found.step_peak_bytes <= x86.step_peak_bytes
    assert "not modelled for" in found.notes[-1]
