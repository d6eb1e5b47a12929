"""Set-up that every test shares."""

import pytest
import references  # noqa: F401  first of all: it lets torchvision import beside a CPU build of torch
import torch

# Small maps gain nothing from more threads, and threads that wait for each other on a busy machine cost twentyfold.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    """Each test draws the same random numbers, whichever tests ran before it."""
    torch.manual_seed(0)


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
