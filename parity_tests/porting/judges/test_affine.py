"""Affine quantisation, against LiteRT's QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

import importlib
import os

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from parity_tests.building.tflite_files import TFLiteBuilder
from porting.judges.litert import Affine, affine_of

RUNTIME = "tflite_runtime" if os.environ.get("WITHOUT_LITERT") else "ai_edge_litert"
RANDOM = np.random.default_rng(2)


def through_litert(values, dtype, scale, zero):
    """What the kernels make of values, and how the interpreter describes it."""
    file = TFLiteBuilder()
    x, z = (file.tensor(name, values.shape) for name in "xz")
    y = file.tensor("y", values.shape, dtype, quantisation=([scale], [zero], 0))
    file.operator("QUANTIZE", [x], y, schema.QuantizeOptionsT())
    file.operator("DEQUANTIZE", [y], z, schema.DequantizeOptionsT())
    runtime = importlib.import_module(f"{RUNTIME}.interpreter")
    interpreter = runtime.Interpreter(
        model_content=file.finish([x], [y, z]),
        experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(x, values)
    interpreter.invoke()
    detail = next(d for d in interpreter.get_tensor_details() if d["index"] == y)
    return interpreter.get_tensor(y), interpreter.get_tensor(z), affine_of(detail)


@pytest.mark.parametrize(
    ("dtype", "scale", "zero"), [("uint8", 2 / 255, 128), ("int8", 0.0072, -3), ("int16", 3e-5, 0)]
)
def test_as_the_kernels_do(dtype, scale, zero):
    steps = np.arange(-40_000, 40_000) / 2  # every other one half a step
    values = np.concatenate([steps, 300 * RANDOM.standard_normal(50_000)])
    values = (values * np.float32(scale)).astype(np.float32)
    stored, real, affine = through_litert(values, dtype, scale, zero)
    assert affine == Affine(float(np.float32(scale)), zero, np.dtype(dtype))
    differing = affine.to_integers(values) != stored
    if RUNTIME == "tflite_runtime":
        assert not differing.any()
    # LiteRT multiplies by 1 / scale and sends halves to the even side.
    beside_half = np.abs(np.abs(values / np.float64(np.float32(scale))) % 1 - 0.5)
    assert beside_half[differing].max(initial=0) < 2e-3
    assert np.abs(affine.to_integers(values).astype(int) - stored).max() <= 1
    # LiteRT takes the zero point off after scaling: float32 rounds twice.
    rounding = 0 if RUNTIME == "tflite_runtime" else 2.0**-23 * scale * np.iinfo(dtype).max
    np.testing.assert_allclose(affine.to_real(stored), real, rtol=0, atol=rounding)
    assert len(np.unique(stored)) > 200


def test_halves_go_away_from_zero():
    affine = Affine(1.0, 0, np.dtype(np.int8))
    below = np.nextafter(np.float32(0.5), np.float32(0))
    values = np.array([0.5, 1.5, 2.5, -0.5, -2.5, below, -below, 500, -500], np.float32)
    assert affine.to_integers(values).tolist() == [1, 2, 3, -1, -3, 0, 0, 127, -128]


def test_float_and_per_channel_tensors_have_no_one_step():
    def detail(dtype, scales):
        parameters = {"scales": np.array(scales, np.float32), "zero_points": np.zeros(len(scales))}
        return {"dtype": dtype, "quantization_parameters": parameters}

    assert affine_of(detail(np.float32, [0.5])) is None
    assert affine_of(detail(np.int8, [0.5, 0.25])) is None
    assert affine_of(detail(np.int8, [])) is None
    assert affine_of(detail(np.int8, [0.5])) == Affine(0.5, 0, np.dtype(np.int8))
