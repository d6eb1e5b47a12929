"""x86 without AVX2, on which nothing is said of oneDNN's kernels; measured with oneDNN restricted to SSE4.1."""

import os
import subprocess
import sys

import pytest

from costmodel import estimate
from costmodel.ops.conv import Conv2d
from costmodel.step.certainty import NOT_MODELLED
from costmodel.targets import parse
from costmodel.targets.machine import is_x86
from costmodel.targets.onednn_older import OlderScratch
from costmodel.targets.setting import Setting

#: Prints the scratch of forward passes of convolutions that rules for AVX2 tell too high, and too low.
MEASURED = """
import torch
from costmodel.pytorch.allocations import trace
torch.set_num_threads(1)
strided, plain = torch.nn.Conv2d(3, 16, 3, 2, 1), torch.nn.Conv2d(24, 24, 3, 1, 1)
for conv, shape in ((strided, (4, 3, 16, 16)), (plain, (2, 24, 9, 9))):
    x = torch.randn(shape).to(memory_format=torch.channels_last)
    made = []
    with torch.no_grad():
        conv.to(memory_format=torch.channels_last)(x)
        print(trace(lambda: made.append(conv(x))).peak - made[0].nbytes)
"""


def test_a_peak_is_the_tensors_and_says_so():
    for threads in (1, 2):
        older = estimate("mobilenet_v2", "blocks:3", convention="lean", target=f"cpu,threads={threads},isa=sse41")
        tensors = estimate("mobilenet_v2", "blocks:3", convention="lean", target=f"none,threads={threads}")
        assert older.certainty.step_peak == NOT_MODELLED and older.certainty.saved == "rule"
        if is_x86():  # elsewhere lean layers on this machine call no kernels of their own
            assert older.step_peak_bytes >= tensors.step_peak_bytes


@pytest.mark.parametrize("conv, x, known", [
    (Conv2d(8, 16, 1), (2, 8, 5, 5), True), (Conv2d(8, 16, 1, 2), (2, 8, 6, 6), False),
    (Conv2d(8, 8, 3, 1, 1, 1, 8), (2, 8, 5, 5), False), (Conv2d(3, 16, 3, 2, 1), (2, 3, 8, 8), False),
])  # fmt: skip
def test_products_of_torch_s_own_are_known_on_one_thread(conv, x, known):
    for target, holds in (("threads=1", known), ("threads=2", False), ("threads=1,channels_last", False)):
        setting = Setting(parse(f"cpu,isa=sse41,{target}"), 4, True, ("x", "weight"))
        assert isinstance(conv.kernels_in(setting), OlderScratch)
        assert conv.modelled(setting, conv.shape(x), x) == conv.bounded(setting, conv.shape(x), x) == holds


@pytest.mark.slow
@pytest.mark.skipif(not is_x86(), reason="restricts oneDNN to an instruction set of x86")
def test_its_kernels_are_others_than_those_for_avx2():
    """Seen with torch 2.13: should a version allocate as with AVX2, its rules may be looked at again."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", MEASURED], env=environment, capture_output=True, text=True, check=True)
    setting = Setting(parse("cpu,isa=avx2,threads=1,channels_last"), 4, False, ())
    cases = ((Conv2d(3, 16, 3, 2, 1, bias=True), (4, 3, 16, 16)), (Conv2d(24, 24, 3, 1, 1, bias=True), (2, 24, 9, 9)))
    said = [conv.scratch(setting, conv.shape(x), x).forward for conv, x in cases]
    assert [*map(int, run.stdout.split())] != said
