"""Set-up that every test shares."""

import gc
import os
from collections import Counter

# Set before the import of torch, which reads them. Small maps gain nothing from more threads, and threads that spin
# while they wait make a busy machine twenty times slower. The suite passes with more too: OMP_NUM_THREADS=2 pytest.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest  # noqa: E402
import torch  # noqa: E402

from costmodel.frontends.modules.imports import imported  # noqa: E402

imported("torchvision")  # so that tests can import it, and timm, whether or not its C library fits torch


@pytest.hookimpl(tryfirst=True)  # before cases are chosen by their marks
def pytest_collection_modifyitems(items):
    """Of a test marked one_in(k), one case in k runs by default, and the others with `-m slow`.

    Of each k cases it is the next one's turn, so that those of an inner parameter take turns too.
    """
    met = Counter()
    for item in items:
        mark, test = item.get_closest_marker("one_in"), item.nodeid.split("[")[0]
        if mark and not item.get_closest_marker("slow"):
            turn, place = divmod(met[test], *mark.args)
            if place != turn % mark.args[0]:
                item.add_marker("slow")
            met[test] += 1


@pytest.fixture(scope="module", autouse=True)
def frozen():
    """Exempts what exists before a file's tests from the garbage collector, which every `validate` calls."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded():
    """Seeds torch, so that each test draws the same random numbers whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def one_thread():
    """Lets torch compute with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def spec_file(tmp_path):
    """Writes a spec's text into a file and returns its path."""

    def write(text, name="tiny.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.fixture
def onnx_file(tmp_path):
    """Writes an ONNX model, or bytes, into a file and returns its path."""

    def write(model, name="net.onnx"):
        path = tmp_path / name
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return str(path)

    return write
