"""What this machine's processor is, as far as kernels depend on it. torch is looked for, and not imported."""

from __future__ import annotations

import os
import platform
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from .target import OwnKernels

UNKNOWN = "unknown"  # another processor: its kernels are not modelled
NEON = "neon"  # 64-bit ARM without SVE
#: AVX512 with instructions for bfloat16, and without those for float16 and AMX. In 32 bits it is AVX512.
AVX512_BF16 = "avx512_bf16"
OLDER = "sse41"  # x86 with SSE4.1, perhaps AVX, and without AVX2
#: On x86 oneDNN copies contiguous maps into blocks of channels, and a depthwise kernel takes three columns.
OF_X86 = OwnKernels(("float32", "float64"), on_threads=False, of_weights=False, copies=False, windows=True)
#: On 64-bit ARM gradients are oneDNN's plain products, whose threads each take four times the weights. Contiguous maps
#: are copied before Compute Library's kernels, and back behind them.
OF_ARM = OwnKernels(("float32",), on_threads=True, of_weights=True, copies=True, windows=False)
#: Users limit oneDNN's kernels on x86 by a variable of the environment, under its name of today or its older one.
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
#: The instruction set whose rules hold under a limit (oneDNN, CPU Dispatcher Control), in upper or lower case. Other
#: values limit nothing.
LIMITED = {
    **dict.fromkeys(("SSE41", "AVX"), OLDER),
    **dict.fromkeys(("AVX2", "AVX2_VNNI", "AVX2_VNNI_2"), "avx2"),
    **dict.fromkeys(("AVX512_CORE", "AVX512_CORE_VNNI"), "avx512"),
}
X86 = ("x86_64", "amd64", "i686", "i386", "x86")
ARM = ("aarch64", "arm64")
CPUINFO = "/proc/cpuinfo"


def is_x86() -> bool:
    """Whether this machine's processor is one."""
    return platform.machine().lower() in X86


def here_isa() -> str:
    """The instruction set of torch's kernels on this machine; UNKNOWN where it is not found out, or not modelled."""
    kind = platform.machine().lower()
    if is_x86():
        return limited(x86_isa(told("flags") or numpy_features()))
    if kind not in ARM:
        return UNKNOWN
    features = told("Features")  # macOS has no such file, and other kernels (Accelerate)
    plain = "asimd" in features and not any(feature.startswith("sve") for feature in features)
    return NEON if plain and has_compute_library() else UNKNOWN


def own_kernels_here() -> OwnKernels | None:
    """Which kernels lean layers call on this machine."""
    return OF_X86 if is_x86() else OF_ARM if here_isa() == NEON else None


def is_here(isa: str, wide: bool = True) -> bool:
    """Whether this machine's kernels are those of an instruction set. wide: in 32 bits, where avx512_bf16 is avx512."""
    return isa == here_isa() or wide and (isa, here_isa()) == ("avx512", AVX512_BF16)


def told(key: str) -> set[str]:
    """The words that Linux tells of the first core under a key."""
    try:
        with open(CPUINFO, encoding="ascii", errors="replace") as file:
            return set(next((line for line in file if line.startswith(key)), "").split())
    except OSError:
        return set()


def numpy_features() -> set[str]:
    """What numpy found of the processor, in Linux' words: on Windows there is no file that tells it."""
    import numpy

    core = getattr(numpy, "_core", None) or numpy.core
    features: dict[str, bool] = core._multiarray_umath.__cpu_features__
    found = {name for name, there in features.items() if there}
    named = {"avx512": ("AVX512_SKX", "X86_V4"), "avx2": ("AVX2", "X86_V3"), "sse4_1": ("SSE41", "X86_V2")}
    told = {name for name, others in named.items() if found & {*others}}
    return told | ({"avx512f", "avx512bw", "avx512vl", "avx512dq"} if "avx512" in told else set())


def x86_isa(flags: set[str]) -> str:
    """The largest instruction set that oneDNN has kernels for."""
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags:
        wider = {"avx512_fp16", "amx_tile", "amx_bf16"} & flags
        return AVX512_BF16 if "avx512_bf16" in flags and not wider else "avx512"
    return "avx2" if "avx2" in flags else OLDER if "sse4_1" in flags else UNKNOWN


def limited(isa: str) -> str:
    """An instruction set of x86, or the smaller one to which the environment limits oneDNN."""
    given = next((os.environ[name] for name in LIMITS if os.environ.get(name)), "")
    limit = LIMITED.get(given.upper(), isa)
    order = (UNKNOWN, OLDER, "avx2", "avx512", AVX512_BF16)
    return min(isa, limit, key=order.index)


def installed_torch() -> ModuleSpec | None:
    """Where torch is installed; None if it is not. It is not imported."""
    try:
        return find_spec("torch")
    except (ImportError, ValueError):  # a module that only claims to be torch
        return None


def has_compute_library() -> bool:
    """Whether the installed torch has Arm Compute Library; wheels for aarch64 do, other builds may not.

    It is among torch's own libraries (2.13), or in a folder beside torch (2.9).
    """
    found = installed_torch()
    places = found.submodule_search_locations if found is not None else None
    folders = [folder for place in places or () for folder in (Path(place, "lib"), Path(place).parent / "torch.libs")]
    return any(any(folder.glob("libarm_compute*")) for folder in folders)
