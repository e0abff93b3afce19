"""What quantised and packed constants are read as."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from parity_tests.building.tflite_files import TFLiteBuilder
from porting.errors import BadSource, UnsupportedSource

RANDOM = np.random.default_rng(3)


def test_a_bias_is_rounded_once(constant):
    """float32 does not hold these integers: rounded before they are scaled, the last bit is off."""
    stored = RANDOM.integers(-(2**31), 2**31, 500).astype(np.int32)
    scale = np.float32(0.0012345)
    source = constant([500], "int32", stored, ([scale], [0], 0))
    exact = (stored.astype(np.float64) * np.float64(scale)).astype(np.float32)
    np.testing.assert_array_equal(source.read("w"), exact)
    assert source.tensors["w"].dtype == "float32"
    assert source.tensors["w"].stored_as == "int32"
    assert (stored.astype(np.float32) * scale != exact).any()


def test_a_wide_bias_with_a_scale_a_channel(constant):
    stored = np.array([2**40 + 1, -(2**41), 3], np.int64)
    scales = np.array([2.0**-40, 2.0**-41, 0.5], np.float32)
    source = constant([3], "int64", stored, (scales, [0, 0, 0], 0))
    np.testing.assert_array_equal(source.read("w"), np.array([1, -1, 1.5], np.float32))


def test_integers_without_a_scale_stay_integers(constant):
    source = constant([2], "int64", np.array([1, 2**40], np.int64))
    assert source.read("w").tolist() == [1, 2**40]
    assert source.tensors["w"].dtype == "int64"


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
def test_zero_points_and_scales_along_an_axis(constant, dtype):
    limits = np.iinfo(dtype)
    stored = RANDOM.integers(limits.min, limits.max, (2, 3, 4)).astype(dtype)
    scales, zeros = np.array([0.5, 0.25, 3], np.float32), np.array([7, 1, 100])
    source = constant([2, 3, 4], dtype, stored, (scales, zeros, 1))
    expected = (stored.astype(np.int64) - zeros[:, None]) * scales[:, None]
    np.testing.assert_array_equal(source.read("w"), expected.astype(np.float32))


def test_one_zero_point_for_several_scales(constant):
    stored = np.array([[1, 2], [3, 4]], np.int8)
    source = constant([2, 2], "int8", stored, ([1.0, 0.5], [1], 0))
    np.testing.assert_array_equal(source.read("w"), [[0, 1], [1, 1.5]])


def test_a_scalar_that_is_quantised(constant):
    source = constant([], "int8", np.array([127], np.int8), ([0.5], [-128], 0))
    assert source.read("w").shape == ()
    assert source.read("w") == 127.5


def test_int4_is_two_to_a_byte_low_bits_first(constant):
    values = np.array([-8, 7, -1, 0, 3], np.int64)
    low, high = values[0::2] & 15, np.append(values[1::2], 0) & 15
    packed = (low | high << 4).astype(np.uint8)
    source = constant([5], "int4", packed, ([0.5], [0], 0))
    np.testing.assert_array_equal(source.read("w"), values * np.float32(0.5))
    assert constant([5], "int4", packed).read("w").tolist() == values.tolist()
    with pytest.raises(BadSource, match=r"'w' of shape \(7,\) and type int4 takes 4 bytes"):
        constant([7], "int4", packed)


def test_bfloat16(constant):
    values = RANDOM.standard_normal((3, 5)).astype(ml_dtypes.bfloat16)
    source = constant([3, 5], "bfloat16", values)
    assert source.read("w").dtype == np.float32
    np.testing.assert_array_equal(source.read("w"), values.astype(np.float32))


def test_a_type_that_is_not_read_is_named_when_it_is_asked_for(constant):
    source = constant([4], "int2", np.zeros(1, np.uint8))
    with pytest.raises(UnsupportedSource, match="tensor 'w' is int2, which is not read"):
        source.read("w")


def test_the_range_of_a_result(opened):
    file = TFLiteBuilder()
    x = file.tensor("x", [1, 4], "uint8", quantisation=([0.5], [3], 0))
    y = file.tensor("y", [1, 4], "int8", quantisation=([0.25], [-128], 0))
    z = file.tensor("z", [1, 4], "int8", quantisation=([0.25, 1], [0, 0], 1))
    plain = file.tensor("plain", [1, 4])
    for before, after in ((x, y), (y, z), (z, plain)):
        file.operator("QUANTIZE", [before], after)
    found = {name: info.range for name, info in
             opened(file.finish([x], [plain])).activations.items()}  # fmt: skip
    assert found == {"x": (-1.5, 126.0), "y": (0.0, 63.75), "z": None, "plain": None}
