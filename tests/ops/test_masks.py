"""Where gradients pass through lean activations, held against the rule on their inputs, on every instruction set.

Run as a program, this file holds one instruction set's masks against the rule and prints what is wrong, as JSON: torch
chooses its kernels once, when it starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from costmodel.pytorch.lean import MaskedActivation  # noqa: E402

#: torch's names of instruction sets -> oneDNN's.
CAPABILITIES = {"DEFAULT": "SSE41", "AVX2": "AVX2", "AVX512": "DEFAULT"}
SHORT = torch.int16
DTYPES = {torch.float32: torch.int32, torch.bfloat16: SHORT, torch.float16: SHORT, torch.float64: torch.int64}
#: Inputs where a derivative jumps, or where a smooth activation's output leaves the range of its data type.
KINKS = (0.0, 3.0, -3.0, 6.0, -6.0, -5.5417, -17.33, -88.0, -88.73, -103.97, -104.0, -708.4, -745.14)
SPECIAL = (0.0, -0.0, torch.inf, -torch.inf, torch.nan, -torch.nan)
CHUNK = 1_000_000
#: kind, signed, keep, approximate: every activation that keeps a mask, in every form.
FORMS = [
    *((kind, signed, keep) for kind in ("relu", "relu6") for signed in (False, True) for keep in ("mask", "y")),
    ("hardsigmoid", False, "mask"),
    *((kind, True, keep) for kind in ("hardswish", "silu") for keep in ("mask", "y")),
    ("gelu", True, "mask"), ("gelu", True, "mask", "tanh"),
]  # fmt: skip
STOCK = {"relu": torch.nn.ReLU(), "relu6": torch.nn.ReLU6(), "hardsigmoid": torch.nn.Hardsigmoid()}


def values(dtype, count):
    """About `count` numbers of a type. With 16 bits: every number, repeated. With more: random bit patterns, values
    typical of networks, subnormal numbers, SPECIAL, and neighbours of KINKS.
    """
    integer = DTYPES[dtype]
    info = torch.iinfo(integer)
    drawn = torch.Generator().manual_seed(0)
    if info.bits == 16:
        every = torch.arange(info.min, info.max + 1).to(integer)
        return every.repeat(-(-count // every.numel())).view(dtype)
    near = [torch.tensor(kink, dtype=dtype).view(integer) + torch.arange(-1000, 1001) for kink in KINKS]
    quarter = count // 4
    subnormal = torch.randint(
        0,
        torch.tensor(torch.finfo(dtype).tiny, dtype=dtype).view(integer).item(),
        (quarter,),
        dtype=integer,
        generator=drawn,
    ).view(dtype)
    parts = [
        *(part.to(integer).view(dtype) for part in near), torch.tensor(SPECIAL, dtype=dtype), subnormal, -subnormal,
        torch.randint(info.min, info.max, (quarter,), dtype=integer, generator=drawn).view(dtype),
        torch.empty(quarter, dtype=dtype).normal_(0, 4, generator=drawn),
        torch.empty(quarter, dtype=dtype).uniform_(-800, 100, generator=drawn),
    ]  # fmt: skip
    return torch.cat(parts)


def rule(kind, signed, x):
    """The rule: whether the gradient passes, for each element of x."""
    if kind == "hardsigmoid":
        return (x > -3) & (x < 3)
    if kind == "relu6" and not signed:
        return (x > 0) & (x < 6)
    return ~(x <= 0) if kind in ("relu", "relu6") else (x >= 0) & ~x.signbit()


def arrangements(x):
    """The same values in arrangements that kernels treat differently: whole vectors, leftovers, gaps, channels_last."""
    yield "whole", x
    yield "with gaps", torch.stack((x, x), 1)[:, 0]
    yield "channels_last", x[: x.numel() // 20 * 20].view(-1, 5, 2, 2).contiguous(memory_format=torch.channels_last)
    rows = torch.nn.functional.pad(x[: x.numel() // 67 * 67].view(-1, 67), (0, 1))
    yield "rows of 67", rows[:, :67]
    few = torch.cat((x[:: 1 + x.numel() // 1000], torch.tensor(SPECIAL, dtype=x.dtype)))
    for size in range(1, 46):  # together as many as there are
        yield "few", few[size * (size - 1) // 2 :][:size]


def gradient(module, x, g):
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(module(x * 1 if getattr(module, "inplace", False) else x), x, g)[0]


def wrong_elements(form, x):
    """For each arrangement, the number of elements whose gradient breaks the rule, and the first such x."""
    kind, signed, keep, *approximate = form
    wrong = {}
    for inplace in (False, True):
        module = MaskedActivation(kind, signed, keep, inplace, *approximate)
        for name, part in arrangements(x):
            g = torch.linspace(1, 2, part.numel()).to(part.dtype).view(part.shape)
            expected = torch.where(rule(kind, signed, part), g, 0)
            found = gradient(module, part, g)
            bad = (found != 0) != (expected != 0) if kind == "hardsigmoid" else found != expected
            if kind in STOCK and not signed:
                stock = gradient(STOCK[kind], part, g)
                # Stock ReLU6 treats NaN differently by position.
                bad |= ((found != 0) != (stock != 0)) & ~(part.isnan() & (kind == "relu6"))
            if bad.any():
                key = f"{name}{' in place' * inplace}"
                count, first = wrong.get(key, (0, part[bad][0].item()))
                wrong[key] = (count + int(bad.sum()), first)
    return wrong


def main(count, flush):
    """Print the instruction set, how many values of each type were tried, and what was wrong.

    flush: whether subnormal numbers are flushed to zero; the rule's own comparisons then treat them as zeros. In
    bfloat16 some of torch's loops flush and others do not, so no rule for ReLU holds there.
    """
    torch.set_num_threads(1)
    if flush and not torch.set_flush_denormal(True):
        count = 0
    wrong, tried = {}, {}
    for dtype in DTYPES if count else ():
        x = values(dtype, count)
        tried[str(dtype)] = x.numel()
        for form in FORMS:
            if flush and dtype is torch.bfloat16 and form[0] in ("relu", "relu6"):
                continue
            for start in range(0, x.numel(), CHUNK):
                for name, what in wrong_elements(form, x[start : start + CHUNK]).items():
                    wrong.setdefault(f"{dtype} {form} {name}", what)
    print(json.dumps({"capability": torch.backends.cpu.get_cpu_capability(), "tried": tried, "wrong": wrong}))


def masks_of(capability, count, flush=False):
    """The output of this file as a program, limited to an instruction set."""
    known, here = list(CAPABILITIES), torch.backends.cpu.get_cpu_capability()
    if here not in known or known.index(capability) > known.index(here):
        pytest.skip(f"{capability} is asked for, this machine has {here}")
    limits = {"ATEN_CPU_CAPABILITY": capability.lower(), "ONEDNN_MAX_CPU_ISA": CAPABILITIES[capability]}
    command = [sys.executable, __file__, str(count), *(["flush"] if flush else [])]
    run = subprocess.run(command, env={**os.environ, **limits}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["capability"].replace("NO AVX", "DEFAULT") == capability  # as torch 2.4 calls it
    return found


FIRST, *OTHERS = CAPABILITIES
SELDOM = [pytest.param(one, marks=pytest.mark.slow) for one in OTHERS]
each_capability = pytest.mark.parametrize("capability", [FIRST, *SELDOM])


@each_capability
def test_gradients_pass_where_the_input_says(capability):
    found = masks_of(capability, 65_536)
    assert found["wrong"] == {} and min(found["tried"].values()) >= 65_536


@pytest.mark.slow
@each_capability
def test_gradients_pass_where_the_input_says_ten_million_times(capability):
    found = masks_of(capability, 10_000_000)
    assert found["wrong"] == {} and min(found["tried"].values()) >= 10_000_000


@pytest.mark.slow
@each_capability
def test_gradients_pass_where_the_input_says_where_subnormal_numbers_are_flushed(capability):
    found = masks_of(capability, 65_536, flush=True)
    if not found["tried"]:
        pytest.skip("this machine flushes nothing")
    assert found["wrong"] == {}


if __name__ == "__main__":
    main(int(sys.argv[1]), "flush" in sys.argv)
