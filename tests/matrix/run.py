"""One version of torch held against the predictions: python tests/matrix/run.py VENV [--threads N] [--isa ISA].

VENV is a virtual environment with the version and, installed by `pip install -e '.[test]'`, this checkout. In it run
the tests of ops, timelines, kernels and traces, and the grid of grid.py, whose rows count as equal where all eight
quantities of `validate` are, to the byte. Prints a row of the table in docs/versions.md; what is behind it goes to
stderr. A quarter of an hour and no network.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

MATRIX = Path(__file__).resolve().parent
ROOT = MATRIX.parents[1]
TESTS = (
    "ops/test_ops", "step/test_timeline", "targets/test_onednn", "frontends/test_trace",
    "frontends/test_trace_refusals", "frontends/test_traced_attention", "pytorch/test_traced_peaks",
)  # fmt: skip
#: What tells oneDNN and torch's own kernels to use no more than an instruction set.
LIMITS = {"avx512": {}, "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--isa", choices=LIMITS, default="avx2", help="the most that kernels may use")
    given = parser.parse_args()
    python = given.venv.absolute() / "bin" / "python"
    threads = {"OMP_NUM_THREADS": str(given.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    environment = {**os.environ, **LIMITS[given.isa], **threads}
    passed, failed = tests(python, environment)
    found = grid(python, environment, given.threads, given.isa)
    cells = (found["torch"], found["python"], given.isa, given.threads, f"{passed} / {failed}",
             f"{found['equal']} of {found['rows']}")  # fmt: skip
    print("|", " | ".join(map(str, cells)), "|")
    return int(bool(failed) or found["equal"] < found["rows"])


def tests(python: Path, environment: dict) -> tuple:
    """How many tests pass and fail; an error in collection is one that fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        files = [str(ROOT / "tests" / f"{name}.py") for name in TESTS]
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *files]
        subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr)
        counts = ElementTree.parse(report).getroot().find("testsuite").attrib
    total, skipped, *bad = (int(counts[key]) for key in ("tests", "skipped", "failures", "errors"))
    return total - skipped - sum(bad), sum(bad)


def grid(python: Path, environment: dict, threads: int, isa: str) -> dict:
    """What grid.py has printed."""
    command = [python, MATRIX / "grid.py", str(threads), isa]
    return json.loads(subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
