"""The judge of TFLite files: complete results, dequantised weights, clear refusals.

Its affine quantisation is compared with LiteRT's QUANTIZE and DEQUANTIZE.
"""

from __future__ import annotations

import importlib
import os

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from genmobilenet import get_config
from parity_tests.building.tflite_files import TFLiteBuilder, convolution_options
from parity_tests.building.tflite_networks import NetworkFile
from porting.errors import BadInput
from porting.judges.litert import Affine, LiteRTJudge, affine_of
from porting.judges.tflite_rewriting import dequantise, with_every_result
from porting.sources.tflite import TFLiteSource

RANDOM = np.random.default_rng(0)
SMALL = get_config("tf_mnasnet_small")


def pointwise(file, name, data, weight, shape=(1, 4, 4, 8)):
    bias = file.tensor(f"{name}/bias", [8], data=np.zeros(8, np.float32))
    output = file.tensor(name, shape)
    return file.operator("CONV_2D", [data, weight, bias], output, convolution_options())


def pixels(size=64):
    return RANDOM.standard_normal((2, size, size, 3)).astype(np.float32)


def test_which_runtime_runs(written):
    judge = LiteRTJudge(written(NetworkFile(SMALL).build()))
    assert judge.name == ("tflite-runtime" if os.environ.get("WITHOUT_LITERT") else "LiteRT")
    assert judge.version[0].isdigit()


def test_a_result_that_a_later_operator_may_overwrite_is_kept(written):
    """An ADD whose input nobody else needs is computed in place where nothing forbids it."""
    file = TFLiteBuilder()
    data = file.tensor("data", [1, 4, 4, 8])
    kernel = RANDOM.standard_normal((8, 1, 1, 8)).astype(np.float32)
    first = pointwise(file, "first", data, file.tensor("k", kernel.shape, data=kernel))
    second = pointwise(file, "second", first, file.tensor("l", kernel.shape, data=kernel))
    total = file.operator("ADD", [first, second], file.tensor("sum", [1, 4, 4, 8]),
                          schema.AddOptionsT())  # fmt: skip
    last = pointwise(file, "last", total, file.tensor("m", kernel.shape, data=kernel))
    judge = LiteRTJudge(written(file.finish([data], [last])))
    x = RANDOM.standard_normal((1, 4, 4, 8)).astype(np.float32)
    taps = judge.run(x, {name: name for name in ("first", "second", "sum", "last")}).taps
    matrix = kernel.reshape(8, 8).T
    np.testing.assert_allclose(taps["first"], x @ matrix, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(taps["second"], x @ matrix @ matrix, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(taps["sum"], taps["first"] + taps["second"], rtol=1e-5, atol=1e-4)


def test_all_results_as_outputs_change_no_value(tmp_path, written):
    content = NetworkFile(SMALL).build()
    source = written(content)
    taps = {name: name for name in source.activations if name != "input"}
    x = pixels()
    plain = LiteRTJudge(source).run(x, taps).taps
    changed = tmp_path / "changed.tflite"
    changed.write_bytes(with_every_result(content))
    other = LiteRTJudge(TFLiteSource(changed)).run(x, taps).taps
    for name in taps:
        np.testing.assert_array_equal(plain[name], other[name], err_msg=name)


@pytest.mark.parametrize("weights", ["int8", "int8_channels", "uint8_legacy"])
def test_dequantised_weights_run_as_the_float_file_does(tmp_path, written, weights):
    result = NetworkFile(SMALL, weights=weights)
    content = result.build()
    source = written(content)
    changed = tmp_path / "changed.tflite"
    changed.write_bytes(dequantise(content, changed))
    in_float = TFLiteSource(changed)
    for name, values in result.real.items():
        np.testing.assert_array_equal(in_float.read(name), values, err_msg=name)
    x = pixels()
    taps = {"logits": source.graph.outputs[0]}
    through_judge = LiteRTJudge(source, in_float=True).run(x, taps).taps["logits"]
    as_file = LiteRTJudge(in_float).run(x, taps).taps["logits"]
    np.testing.assert_array_equal(through_judge, as_file)
    quantised = LiteRTJudge(source).run(x, taps).taps["logits"]
    assert np.abs(through_judge - quantised).max() > 1e-4 * np.abs(quantised).max()


def test_weights_that_share_bytes_but_not_their_scale(written):
    file = TFLiteBuilder()
    data = file.tensor("data", [1, 4, 4, 8])
    stored = np.ones((8, 1, 1, 8), np.int8)
    first = file.tensor("first", stored.shape, "int8", stored, ([0.5], [0], 0))
    second = file.tensor("second", stored.shape, "int8", stored, ([0.25], [0], 0))
    file.graph.tensors[second].buffer = file.graph.tensors[first].buffer
    middle = pointwise(file, "a", data, first)
    source = written(file.finish([data], [pointwise(file, "b", middle, second)]))
    x = RANDOM.standard_normal((2, 4, 4, 8)).astype(np.float32)
    taps = LiteRTJudge(source, in_float=True).run(x, {"a": "a", "b": "b"}).taps
    sums = np.broadcast_to(0.5 * x.sum(-1, keepdims=True), x.shape)
    np.testing.assert_allclose(taps["a"], sums, atol=1e-5)
    np.testing.assert_allclose(taps["b"], 0.25 * 8 * sums, atol=1e-5)


def test_a_file_that_the_runtime_refuses(written):
    file = TFLiteBuilder()
    data = file.tensor("data", [1, 4, 4, 8])
    wrong = RANDOM.standard_normal((8, 1, 1, 5)).astype(np.float32)
    content = file.finish(
        [data], [pointwise(file, "out", data, file.tensor("k", wrong.shape, data=wrong))]
    )
    with pytest.raises(BadInput, match="cannot run it"):
        LiteRTJudge(written(content))


# --- affine quantisation ---

RUNTIME = "tflite_runtime" if os.environ.get("WITHOUT_LITERT") else "ai_edge_litert"
AFFINE_RANDOM = np.random.default_rng(2)


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
    values = np.concatenate([steps, 300 * AFFINE_RANDOM.standard_normal(50_000)])
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
