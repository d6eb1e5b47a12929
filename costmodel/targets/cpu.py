"""A CPU: PyTorch's own kernels, and oneDNN's for convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import CostmodelError
from ..sizes.size import Size
from .compute_library import linear_bytes
from .machine import AVX512_BF16, NEON, OF_ARM, OF_X86, OLDER, UNKNOWN, here_isa, is_x86
from .neon import NeonScratch
from .onednn import ConvolutionScratch
from .onednn_bf16 import Bfloat16Scratch, Float16Scratch
from .onednn_bf16_matmul import MOST_ROWS, products_bytes
from .onednn_levels import THRESHOLDS
from .onednn_older import OlderScratch
from .setting import NUMBER_BYTES, Setting
from .target import (
    CHANNELS_LAST,
    MOST_THREADS,
    THREADS,
    ConvolutionKernels,
    Option,
    OwnKernels,
    Target,
    device,
    one_of,
    whole_number,
)
from .threads import threads_of_scheduler, threads_of_torch

#: The scratch of convolutions in 16 bits.
NARROW: dict[str, type[ConvolutionScratch]] = {"bfloat16": Bfloat16Scratch, "float16": Float16Scratch}
#: Of oneDNN's kernels on x86: 16, 16, 8 and 8 channels to a block.
ISAS = (AVX512_BF16, "avx512", "avx2", OLDER, NEON, UNKNOWN)
CORES = Option(whole_number(MOST_THREADS), f"cores=1 to cores={MOST_THREADS}, with isa={NEON}")


@device("cpu")
@dataclass(frozen=True)
class Cpu(Target):
    """A CPU with an instruction set, and a number of threads; its kernels depend on both.

    cores: on ARM, threads of Arm Compute Library's scheduler, which are set when torch is imported: OMP_NUM_THREADS, or
    the number of cores.
    """

    isa: str = "avx512"
    cores: int | None = None

    options = {
        "threads": THREADS,
        "isa": Option(one_of(ISAS), f"isa= one of {', '.join(ISAS)}"),
        "cores": CORES,
        "channels_last": CHANNELS_LAST,
    }
    counts_kernels = True
    thresholds = THRESHOLDS

    @classmethod
    def here(cls) -> Target:
        isa = here_isa()
        return cls(threads_of_torch(is_x86()), isa=isa, cores=threads_of_scheduler() if isa == NEON else None)

    @classmethod
    def made(cls, given: dict[str, Any]) -> Target:
        isa = given["isa"] if "isa" in given else here_isa()
        if isa != NEON and "cores" in given:
            raise CostmodelError(f"cores={given['cores']} with isa={isa}; allowed: with isa={NEON}")
        found = tuple(name for name in ("threads", "isa") if name not in given)
        threads = given["threads"] if "threads" in given else threads_of_torch(is_x86())
        # A text that names the instruction set names the same target on any machine.
        cores = threads_of_scheduler() if isa == NEON and "isa" in found else None
        return cls(**{"cores": cores, **given, "isa": isa, "threads": threads}, detected=found)

    @property
    def is_modelled(self) -> bool:
        return self.isa != UNKNOWN

    @property
    def own_kernels(self) -> OwnKernels | None:
        return {NEON: OF_ARM, UNKNOWN: None}.get(self.isa, OF_X86)

    def knows(self, dtype: str) -> bool:
        return dtype not in NARROW or self.isa == AVX512_BF16

    def convolution(self, conv: Any, setting: Setting) -> ConvolutionKernels:
        if self.isa == NEON:
            return NeonScratch(conv, setting, self.cores or self.threads)
        if setting.dtype in NARROW and self.isa == AVX512_BF16:
            return NARROW[setting.dtype](conv, setting, lanes=16)
        if self.isa == OLDER:
            return OlderScratch(conv, setting, lanes=8)
        return ConvolutionScratch(conv, setting, lanes=16 if self.isa in ("avx512", AVX512_BF16) else 8)

    def linear(self, setting: Setting, rows: Size, inputs: int, outputs: int) -> tuple[Size, Size]:
        if setting.dtype == "bfloat16" and self.isa == AVX512_BF16:
            return products_bytes(setting, rows, inputs, outputs)
        return linear_bytes(rows, inputs, outputs) if self.isa == NEON else 0, 0

    def knows_linear(self, setting: Setting, rows: Size) -> Any:
        return self.knows(setting.dtype) and rows <= MOST_ROWS

    def number_bytes(self, item: int) -> int:
        return NUMBER_BYTES + item  # and a copy in the tensor's data type

    def to_dict(self) -> dict[str, Any]:
        cores = {} if self.cores is None else {"cores": self.cores}
        return {"device": "cpu", "isa": self.isa, "threads": self.threads, **cores, "memory_format": self.memory_format}

    def __str__(self) -> str:
        cores = "" if self.cores in (None, self.threads) else f" on {self.cores} core{'s' if self.cores != 1 else ''}"
        return f"cpu ({self.isa}, {self.threads} thread{'s' if self.threads > 1 else ''}{cores}, {self.memory_format})"
