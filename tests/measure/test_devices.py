"""The devices' figures are those of the file, each with its source; what is computed from others equals its rule."""

import pytest

from lmlab import facts
from lmlab.measure import devices

SPEED = {"memory_bandwidth": (0.1, 30), "peak_bf16": (1, 20_000), "peak_fp16": (1, 20_000)}  # TB/s and TFLOPS


def test_every_whole_device_of_the_file_is_offered():
    each = facts.table().groupby("model")["field"].agg(set)
    whole = {
        name
        for name, fields in each.items()
        if {"memory", "memory_bandwidth"} <= fields and fields & {"peak_bf16", "peak_fp16"}
    }
    assert whole == set(devices.NAMES)


def test_figures_lie_where_their_units_put_them():
    for name in devices.NAMES:
        for field in set(facts.table(name)["field"]) & SPEED.keys():
            low, high = SPEED[field]
            assert low < facts.value(name, field) < high, (name, field)


def test_a_device_holds_what_the_file_says():
    found = devices.device("nvidia-h100-sxm", 2)
    assert found.label == "2 x H100"
    assert found.memory == 2 * 81_559 * 2**20 and found.bandwidth == pytest.approx(6.7e12)
    assert (found.two_byte, found.two_byte_format) == (pytest.approx(2 * 989e12), "BF16")
    assert found.peak("fp8") == pytest.approx(2 * 1979e12) and found.fp4 is None
    assert found.ridge == pytest.approx(989 / 3.35)
    mac = devices.device("apple-m4-max")
    assert mac.memory == 128 * 10**9 and mac.two_byte_format == "FP16" and mac.peak("fp8") == mac.two_byte
    blackwell = devices.device("nvidia-b200-sxm")
    assert blackwell.fp4 == pytest.approx(9e15) and blackwell.peak("mxfp4") == blackwell.two_byte


def test_dense_peaks_double_with_each_halving_of_the_format():
    """A datasheet's figure with sparsity, twice the dense one, would stand out."""
    for one in map(devices.device, devices.NAMES):
        if one.fp8:
            assert one.fp8 / one.two_byte == pytest.approx(2, rel=0.01), one.name
        if one.fp4:
            assert one.fp4 / one.fp8 == pytest.approx(2, rel=0.01), one.name


def test_computed_figures_follow_their_rules():
    def of(name, *fields):
        return [facts.value(name, field) for field in fields]

    xeon = of("intel-xeon-8480", "cores", "base_clock", "bf16_per_cycle", "memory_channels", "memory_speed")
    cores, clock, per_cycle, channels, speed = xeon
    assert of("intel-xeon-8480", "peak_bf16") == pytest.approx([cores * clock * per_cycle / 1e3])
    assert of("intel-xeon-8480", "memory_bandwidth") == pytest.approx([channels * speed * 8 / 1e6])
    for name in ("apple-m4-max", "apple-m3-ultra"):
        cores, each, peak = of(name, "gpu_cores", "peak_fp16_per_core", "peak_fp16")
        assert peak == pytest.approx(cores * each)
    for name in ("amd-mi355x", "nvidia-rtx-5090"):
        two_byte, fp8 = of(name, "peak_bf16", "peak_fp8")
        assert fp8 == 2 * two_byte
    rows = facts.table()
    computed = rows[rows["model"].isin(devices.NAMES) & (rows["status"] == "computed")]
    assert len(computed) == 6, "a rule above for each"


def test_the_drivers_memory_is_near_the_named():
    for name in devices.NAMES:
        assert 0.95 < devices.device(name).memory / facts.value(name, "memory") / 1e9 < 1.08


def test_the_table_has_a_row_for_each():
    table = devices.table()
    assert list(table.index) == list(devices.NAMES.values())
    assert table.loc["H200", ["bandwidth", "two_byte", "fp8"]].tolist() == [4800, 989, 1979]
    assert table["fp4"].dropna().index.tolist() == ["B200"]


def test_what_is_not_there_is_named():
    with pytest.raises(ValueError, match="no device is called 'nvidia-h100'; there are nvidia-h100-sxm"):
        devices.device("nvidia-h100")
    with pytest.raises(ValueError, match="no device is called 'abacus'; there are nvidia-t4"):
        devices.device("abacus")
    with pytest.raises(ValueError, match="count=0 must be 1 or more"):
        devices.device("nvidia-t4", 0)
