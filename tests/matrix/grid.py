"""Compares predictions with real runs of the installed torch: python grid.py THREADS ISA.

Prints what did not agree on stderr, and one line of JSON.
"""

import json
import platform
import sys
from itertools import product

import torch
from costmodel.pytorch.packages import imported

from costmodel import load
from costmodel.pytorch.validate import validate

#: From specs, and traced: a plain one, one that shuffles channels, one that cuts channels off, one with attention.
NETWORKS = (
    "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_small", "mcunet_5fps",
    "timm:efficientnet_lite0", "torchvision:shufflenet_v2_x0_5", "timm:ghostnet_050", "timm:mobilevit_xxs",
)  # fmt: skip
STRATEGIES = ("full", "bias", "blocks:3", "mobiletl:3")
CONVENTIONS = ("torch", "lean")
BATCH, RESOLUTION = 2, 97


def main(threads: int, isa: str) -> None:
    torch.set_num_threads(threads)
    imported("torchvision")
    target = f"cpu,isa={isa},threads={threads}"
    rows = wrong = 0
    for name in NETWORKS:
        network = load(name)
        for strategy, convention in product(STRATEGIES, CONVENTIONS):
            off = {
                check.quantity: (check.predicted, check.measured)
                for check in validate(network, strategy, BATCH, RESOLUTION, convention, target)
                if check.error != 0
            }
            rows += 1
            wrong += bool(off)
            if off:
                print(name, strategy, convention, off, file=sys.stderr, flush=True)
    versions = {"torch": torch.__version__.partition("+")[0], "python": platform.python_version()}
    print(json.dumps({**versions, "rows": rows, "equal": rows - wrong}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
