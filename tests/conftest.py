"""Set-up that every test shares."""

import gc
import os

# Set before the import of torch, which reads them. Small maps gain nothing from more threads, and threads that spin
# while they wait make a busy machine twenty times slower. The suite passes with more too: OMP_NUM_THREADS=2 pytest.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest  # noqa: E402
import torch  # noqa: E402

from costmodel.frontends.modules.imports import imported  # noqa: E402

imported("torchvision")  # so that tests can import it, and timm, whether or not its C library fits torch


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
