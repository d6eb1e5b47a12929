"""On which devices a step fits."""

import pytest

import costmodel
from costmodel.devices import find_device
from costmodel.errors import CostmodelError
from costmodel.studies.battery import read_battery
from costmodel.studies.needs import RESERVES_AT_MOST
from costmodel.studies.where import CALIBRATE, HEAT, MEMORY, NO, UNSURE, YES, Run, bounds_of, where
from costmodel.views.where import where_table


def places(devices, strategies=("full",), **request):
    found = where(costmodel.load("mobilenet_v2"), [find_device(one) for one in devices], strategies, **request)
    return {(place.device.text, place.strategy): place for place in found}


def test_a_verdict_is_sure_where_the_bounds_are():
    texts = [f"raspberry_pi_4b,memory={size}GiB" for size in (1, 2)]
    found = places(texts, ["full", "blocks:5"], batch=8)
    for (text, _), place in found.items():
        usable = find_device(text).usable_bytes
        least, most = place.bounds
        assert place.verdict == (YES if most <= usable else NO if least > usable else UNSURE)
        assert place.headroom_bytes == usable - most
        assert (place.limited_by == MEMORY) == (place.verdict == NO)
    assert {place.verdict for place in found.values()} >= {YES, NO}


def test_the_largest_batch_is_the_last_that_surely_fits():
    (place,) = places(["raspberry_pi_4b,memory=2GiB"], batch=4).values()
    device = place.device
    for batch, fits in ((place.largest_batch, True), (place.largest_batch + 1, False)):
        found = costmodel.estimate("mobilenet_v2", batch=batch, device=device)
        assert (bounds_of(found, device).most <= device.usable_bytes) == fits


def test_a_microcontroller_holds_tensors_alone():
    found = places(["portenta_h7", "stm32f746"], ["last"], batch=1, resolution=32, find_batch=False)
    for place in found.values():
        assert place.bounds.least == place.bounds.most == place.estimate.peak_bytes
        assert place.estimate.seconds is None and place.largest_batch is None


def test_a_gpu_may_reserve_more_than_is_allocated():
    (place,) = places(["jetson_nano"], batch=4, find_batch=False).values()
    assert place.bounds.most >= RESERVES_AT_MOST * place.bounds.least - 1


def test_a_phone_is_to_be_calibrated_first():
    (place,) = places(["phone_ios"]).values()
    assert place.verdict == CALIBRATE and place.bounds is None and place.headroom_bytes is None


def test_heat_limits_a_board_that_is_known_to_slow_down():
    found = places(["raspberry_pi_4b", "raspberry_pi_5", "raspberry_pi_zero_2w"], batch=8, find_batch=False)
    told = {place.device.name: place.limited_by for place in found.values()}

    assert told == {
        "raspberry_pi_4b": f"bandwidth, {HEAT}",
        "raspberry_pi_5": "bandwidth",
        "raspberry_pi_zero_2w": MEMORY,
    }
    zero = find_device("raspberry_pi_zero_2w")
    assert zero.loaded_celsius.value < zero.throttles_celsius.value and not zero.throttles
    _, notes = where_table(list(found.values()), Run())
    assert sum(note.startswith("heat: Raspberry Pi 4 Model B reaches 80 C") for note in notes) == 1


def test_a_run_and_its_battery():
    (place,) = places(["raspberry_pi_5"], batch=8, find_batch=False).values()
    run = Run(images=1001, epochs=3, battery=read_battery("5000mAh"))
    assert run.steps(place.estimate) == 126  # 125 whole batches and one image
    joules = 3 * 126 * place.estimate.seconds * 11
    assert run.battery_share(place.estimate) == pytest.approx(joules / (3600 * 5 * 3.7))
    assert Run().battery_share(place.estimate) is None


@pytest.mark.parametrize("text", ["", "0mAh", "5000", "-1Wh", "5 kWh", "nan Wh"])
def test_a_bad_battery(text):
    with pytest.raises(CostmodelError, match="allowed: mAh"):
        read_battery(text)


def test_a_battery_in_watt_hours():
    assert read_battery("18.5Wh") == 18.5 and read_battery("5000mAh") == pytest.approx(18.5)
    assert read_battery("5 Ah") == pytest.approx(18.5)


def test_a_paper_has_no_place():
    with pytest.raises(CostmodelError):
        places(["raspberry_pi_5"], convention="ideal")
