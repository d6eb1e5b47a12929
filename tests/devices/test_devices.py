"""Devices as data: every shipped figure says where it is from, and bad files and names get one message."""

import pytest
import yaml

from costmodel.devices import device_names, find_device, split_devices, usual_device
from costmodel.devices.device import KINDS, MICROCONTROLLER, PHONE
from costmodel.devices.figure import Figure
from costmodel.devices.figures import arithmetic, bandwidth, watts
from costmodel.devices.file import device_of
from costmodel.errors import CostmodelError
from costmodel.files.shipped import SPECS, shipped_text
from costmodel.targets import parse

NAMES = {
    "raspberry_pi_3b_plus", "raspberry_pi_4b", "raspberry_pi_5", "raspberry_pi_zero_2w", "jetson_nano", "jetson_tx2",
    "jetson_xavier_nx", "jetson_orin_nano", "jetson_agx_orin", "stm32f746", "stm32h743", "nrf52840", "esp32_s3",
    "portenta_h7", "phone_android", "phone_ios",
}  # fmt: skip
TEXT = shipped_text("devices/raspberry_pi_4b.yaml")


def test_the_devices_of_the_contract_are_there():
    assert set(device_names()) == NAMES


def figures(document, path=""):
    """Every mapping of a document that has a value, with its place."""
    for key, value in document.items():
        if isinstance(value, dict):
            if "value" in value:
                yield f"{path}{key}", value
            else:
                yield from figures(value, f"{path}{key}.")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_figure_has_a_source_or_says_that_it_has_none(name):
    document = yaml.safe_load((SPECS / "devices" / f"{name}.yaml").read_text(encoding="utf-8"))
    found = dict(figures(document))
    assert len(found) >= 3
    for place, figure in found.items():
        assert len({"source", "unsourced"} & figure.keys()) == 1, place
    # Beside figures there are names, and the constants of a pace, which have one source together.
    for processor in document["processors"].values():
        assert processor.keys() <= {"target", "peak", "bandwidth", "context", "paces"}
        assert all(pace["source"] for pace in processor.get("paces", []))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_shipped_device_is_whole(name):
    device = find_device(name)
    assert device.kind in KINDS
    assert (
        0
        < device.usable_bytes
        == device.memory_bytes
        - device.system.value
        - (device.processor.context.value if device.processor.context else 0)
    )
    assert device.memory_bytes == max(device.memory.value)
    assert (device.kind == PHONE) == device.calibrate_first
    for processor in device.processors.values():
        assert parse(processor.target).text == processor.target
        assert all(pace.target == processor.target and pace.is_calibrated for pace in processor.paces)
    if device.kind == MICROCONTROLLER:
        assert not device.runs_a_process and not device.shares_memory
    assert find_device(device.text) == device


def test_a_memory_is_named_as_it_is_sold():
    assert find_device("raspberry_pi_4b").memory_bytes == 8 * 2**30
    for text in ("2GB", "2GiB", "2147483648B"):
        assert find_device(f"raspberry_pi_4b,memory={text}").memory_bytes == 2 * 2**30
    assert find_device("raspberry_pi_4b,memory=2GB").usable_bytes == 2 * 2**30 - 350_000_000


def test_a_gpu_is_taken_where_there_is_one():
    device = find_device("jetson_tx2")
    assert device.processor.target == "cuda,sm=62" and device.shares_memory and not device.runs_a_process
    assert device.usable_bytes == (7859 - 700 - 1454) * 2**20
    cpu = find_device("jetson_tx2,cpu")
    assert cpu.runs_a_process and cpu.usable_bytes == (7859 - 700) * 2**20 and cpu.text == "jetson_tx2,cpu"


def test_a_list_keeps_options_with_their_device():
    text = "raspberry_pi_4b,memory=2GB,jetson_tx2,cpu,own.yaml,stm32f746"
    found = split_devices("raspberry_pi_4b,memory=2GB,jetson_tx2,cpu,stm32f746")
    assert found == ["raspberry_pi_4b,memory=2GB", "jetson_tx2,cpu", "stm32f746"]
    assert split_devices(text)[2] == "own.yaml"


def test_the_environment_names_a_device(monkeypatch):
    monkeypatch.delenv("COSTMODEL_DEVICE", raising=False)
    assert usual_device() is None
    monkeypatch.setenv("COSTMODEL_DEVICE", "stm32f746")
    assert usual_device() == find_device("stm32f746")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raspberry_pi_4c", "did you mean 'raspberry_pi_4b'?"),
        ("raspberry_pi_4b,memory=3GB", "allowed: 1GiB, 2GiB, 4GiB, 8GiB"),
        ("raspberry_pi_4b,gpu", "found 'gpu'; allowed: memory=SIZE, cpu"),
        ("raspberry_pi_4b,memory=2GB,memory=4GB", "one memory too many"),
        ("jetson_tx2,cpu,gpu", "one processor too many"),
        ("raspberry_pi_4b,", "found ''"),
        ("nowhere.yaml", "cannot read 'nowhere.yaml'"),
        ("", "unknown device ''"),
    ],
)
def test_a_bad_device_gets_one_message(text, said):
    with pytest.raises(CostmodelError) as error:
        find_device(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: board", "kind: boat", "line 2, kind: unknown kind 'boat'"),
        ("12.8 GB/s", "-12.8 GB/s", "bandwidth is '-12.8 GB/s'"),
        ("12.8 GB/s", "12.8 GB", "allowed: a number > 0 and"),
        ("12.8 GB/s", "0 GB/s", "bandwidth is '0 GB/s'"),
        ("57.6 GFLOP/s\n        source", "57.6 GB/s\n        source", "rate is '57.6 GB/s'"),
        ("      arithmetic: 57.6 GFLOP/s\n", "", "'arithmetic' is missing"),
        ("pool: 1.16", "pool: -1", "allowed: a number > 0"),
        ("pool: 1.16", "poll: 1.16", "unknown kind of kernels 'poll'"),
        ("backward: 0.688", "back: 0.688", "unknown pass 'back'"),
        ("target: cpu,isa=neon,threads=4,cores=4\n    peak", "target: tpu\n    peak", "unknown device 'tpu'"),
        ("system: {value: 350MB", "system: {value: 3GB", "take all of the memory"),
        ("system: {value: 350MB", "system: {value: 350", "allowed: a text with a unit"),
        ("[1GiB, 2GiB, 4GiB, 8GiB]", "[4GiB, 2GiB]", "allowed: a list of sizes, ascending"),
        (', source: "geerlingguy/top500-benchmark, HPL: power during the run"', "", "allowed: value, and one text"),
        ("title:", "name:", "unknown key 'name'"),
        ("float32:\n", "float31:\n", "unknown key 'float31'"),
        ("error_percent: 6.9", "error_percent: six", "allowed: a number"),
    ],
)  # fmt: skip
def test_a_bad_file_gets_one_message_with_its_line(old, new, said):
    assert TEXT.count(old) == 1, old
    with pytest.raises(CostmodelError) as error:
        device_of(TEXT.replace(old, new), "mine.yaml", "mine")
    assert said in str(error.value) and "mine.yaml, line " in str(error.value)


def test_units():
    assert arithmetic("1.5 TFLOP/s") == 1.5e12 and arithmetic("115 GOP/s") == 1.15e11
    assert bandwidth("500MB/s") == 5e8 and watts("11mW") == 0.011


def test_a_figure_tells_its_origin():
    assert Figure(1, "a book").origin == "a book" and Figure(1, "", "a guess").origin == "unsourced: a guess"
