"""Judging files that compute in integers: in float32, and unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from parity_tests.building.mutations import packed
from parity_tests.building.quantised_files import QuantisedFile
from parity_tests.building.tflite_files import TFLiteBuilder, sparsity
from porting.errors import BadInput, UnsupportedSource
from porting.judges.litert import LiteRTJudge
from porting.judges.tflite_rewriting import dequantise
from porting.sources.tflite import TFLiteSource

RANDOM = np.random.default_rng(6)
TAPS = {name: name for name in ("conv", "deep", "sum", "dense")}


def images(count=3):
    return RANDOM.uniform(-1, 1, (count, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("conversions", [False, True])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(("dtype", "activation"), [("uint8", "relu6"), ("uint8", "relu"),
                                                   ("int8", "relu6")])  # fmt: skip
def test_in_float_it_is_the_float_file(written, dtype, activation, named, conversions):
    file = QuantisedFile(dtype, activation, named, conversions)
    x = images()
    source = written(file.build())
    actual = LiteRTJudge(source, in_float=True).run(x, TAPS)
    file.conversions = False
    expected = LiteRTJudge(written(file.build(integers=False), "float.tflite")).run(x, TAPS)
    for tap in TAPS:
        np.testing.assert_array_equal(actual.taps[tap], expected.taps[tap], err_msg=tap)
    assert actual.steps == {}
    # Without the activation, values would not be clipped at 0 and, in uint8, at the maximum.
    assert min(actual.taps[tap].min() for tap in ("conv", "deep", "sum")) == 0
    top = max(actual.taps[tap].max() for tap in ("conv", "deep", "sum"))
    assert top == 6 if activation == "relu6" else top > 6


def test_int8_from_zero_on_implies_no_activation(written):
    file = QuantisedFile("int8", "relu")
    x = images()
    actual = LiteRTJudge(written(file.build()), in_float=True).run(x, TAPS)
    content = file.build(integers=False, activation="none")
    expected = LiteRTJudge(written(content, "float.tflite")).run(x, TAPS)
    for tap in TAPS:
        np.testing.assert_array_equal(actual.taps[tap], expected.taps[tap], err_msg=tap)
    assert actual.taps["conv"].min() < 0


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("conversions", [False, True])
def test_as_it_is_it_gives_real_values_within_steps_of_the_float_run(written, dtype, conversions):
    source = written(QuantisedFile(dtype, "relu6", conversions=conversions).build())
    x = images()
    as_is, in_float = LiteRTJudge(source).run(x, TAPS), LiteRTJudge(source, True).run(x, TAPS)
    assert as_is.steps == pytest.approx({t: 3 if t == "dense" else 6 / 255 for t in TAPS})
    for tap, step in as_is.steps.items():
        off = np.abs(as_is.taps[tap] - in_float.taps[tap]) / step
        assert as_is.taps[tap].dtype == np.float32
        assert 0 < off.mean() < 2, tap
        whole = as_is.taps[tap] / step
        np.testing.assert_allclose(whole, np.round(whole), atol=1e-3)


def test_nothing_of_the_file_is_lost_but_its_integers(tmp_path, written):
    content = QuantisedFile("uint8", "relu6", conversions=True).build()
    before = written(content)
    after = written(dequantise(content, tmp_path / "x"), "changed.tflite")
    assert [op.kind for op in before.graph.operators][0::5] == ["QUANTIZE", "DEQUANTIZE"]
    assert [op.kind for op in after.graph.operators][0::5] == ["CAST", "CAST"]
    assert {info.stored_as for info in after.tensors.values()} == {"float32"}
    for name in before.tensors:
        np.testing.assert_array_equal(before.read(name), after.read(name), err_msg=name)
    shown = [op.options.get("activation") for op in after.graph.operators[1:-1]]
    assert shown == ["relu6", "relu6", "relu6", "none"]
    for old, new in zip(before.graph.operators[1:-1], after.graph.operators[1:-1], strict=True):
        assert {**old.options, "activation": ""} == {**new.options, "activation": ""}


def sparse_layer(dtype, densify, dense=False):
    """A dense layer on sparse weights, or on the same weights as TensorFlow stores others."""
    matrix = np.zeros((6, 8), dtype)
    matrix[[0, 1, 4], [2, 7, 0]] = [3, -5, 1]
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 8]), file.tensor("y", [1, 6])
    parameters = (np.linspace(0.5, 1.5, 6), np.zeros(6), 0) if dtype == "int8" else None
    layout = sparsity([0, 1], [], 6, ([0, 1, 2, 2, 2, 3, 3], [2, 7, 0], "u1"))
    stored = np.array([3, -5, 1], dtype)
    stored, layout = (matrix, None) if dense else (stored, layout)
    weight = file.tensor("w", [6, 8], dtype, stored, parameters, layout)
    if densify:
        result = file.tensor("made", [6, 8], dtype, quantisation=parameters)
        weight = file.operator("DENSIFY", [weight], result, schema.DensifyOptionsT())
    options = schema.FullyConnectedOptionsT()
    file.operator("FULLY_CONNECTED", [x, weight, -1], y, options)
    scale = 1 if parameters is None else parameters[0][:, None]
    return file.finish([x], [y]), matrix * scale


@pytest.mark.parametrize("densify", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_sparse_weights_in_float(written, dtype, densify):
    content, matrix = sparse_layer(dtype, densify)
    x = RANDOM.standard_normal((2, 8)).astype(np.float32)
    actual = LiteRTJudge(written(content), in_float=True).run(x, {"y": "y"}).taps["y"]
    np.testing.assert_allclose(actual, x @ matrix.T, rtol=1e-5, atol=1e-6)


def test_sparse_weights_that_contradict_themselves(written):
    content, _ = sparse_layer("int8", True)
    # The last row's indices would start after the end of the indices.
    at = content.index(bytes([0, 1, 2, 2, 2, 3, 3]))
    broken = content[:at] + bytes([0, 9, 2, 2, 2, 3, 3]) + content[at + 7 :]
    with pytest.raises(BadInput, match=r"model.tflite: cannot be turned into a float file"):
        LiteRTJudge(written(broken), in_float=True)


def test_weights_in_half_precision(written):
    half = RANDOM.standard_normal((6, 8)).astype(np.float16)
    file = TFLiteBuilder()
    x, y, w = file.tensor("x", [1, 8]), file.tensor("y", [1, 6]), file.tensor("real", [6, 8])
    stored = file.tensor("w", [6, 8], "float16", half)
    file.operator("DEQUANTIZE", [stored], w, schema.DequantizeOptionsT())
    file.operator("FULLY_CONNECTED", [x, w, -1], y, schema.FullyConnectedOptionsT())
    source = written(file.finish([x], [y]))
    given = RANDOM.standard_normal((2, 8)).astype(np.float32)
    as_is = LiteRTJudge(source).run(given, {"y": "y"})
    in_float = LiteRTJudge(source, in_float=True).run(given, {"y": "y"})
    np.testing.assert_array_equal(as_is.taps["y"], in_float.taps["y"])


def test_an_implied_activation_without_options_to_name_it(tmp_path):
    model = schema.ModelT.InitFromPackedBuf(QuantisedFile("uint8").build(), 0)
    total = model.subgraphs[0].operators[2]
    total.builtinOptions, total.builtinOptionsType = None, 0
    with pytest.raises(UnsupportedSource, match="range of 'sum' implies an activation"):
        dequantise(packed(model), tmp_path / "x")


def test_constants_behind_the_model(tmp_path):
    model = schema.ModelT.InitFromPackedBuf(QuantisedFile("uint8").build(), 0)
    bias = next(t for t in model.subgraphs[0].tensors if t.name == b"conv/b")
    model.buffers[bias.buffer] = schema.BufferT(offset=2000, size=32)
    with pytest.raises(UnsupportedSource, match="keeps constants behind the model"):
        dequantise(packed(model), tmp_path / "x")


def test_an_image_in_plain_integers(written):
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 2, 2, 1], "uint8"), file.tensor("y", [1, 2, 2, 1])
    file.operator("CAST", [x], y)
    pixels = np.array([0, 1.4, 254.5, 300], np.float32).reshape(1, 2, 2, 1)
    run = LiteRTJudge(written(file.finish([x], [y]))).run(pixels, {"y": "y", "x": "x"})
    assert run.taps["y"].ravel().tolist() == [0, 1, 255, 255]
    assert run.steps == {}


@pytest.fixture(scope="module")
def published(artifacts):
    return TFLiteSource(artifacts / "google/mobilenet_v2_1.0_224_quant.tflite")


@pytest.mark.slow
def test_the_published_uint8_file_on_images(artifacts, published):
    from porting.parity.inputs import image_stream

    pixels = np.stack(list(image_stream(artifacts / "images", 0, 224, 3)))[::3]
    x = (pixels.astype(np.float32) - 127.5) / 127.5
    logits = published.graph.outputs[0]
    hidden = [op.outputs[0] for op in published.graph.operators if "Relu6" in op.outputs[0]]
    taps = {name: name for name in (logits, *hidden)}
    as_is, in_float = (LiteRTJudge(published, way).run(x, taps) for way in (False, True))
    best = [run.taps[logits].argmax(axis=-1) for run in (as_is, in_float)]
    assert (best[0] == best[1]).mean() > 0.9
    assert len(hidden) == 35
    for name in hidden:
        assert in_float.taps[name].max() <= 6
        assert in_float.taps[name].min() == 0
    for name, step in as_is.steps.items():
        off = np.abs(as_is.taps[name] - in_float.taps[name]).mean() / step
        assert off < 4, name


@pytest.mark.slow
@pytest.mark.parametrize("given", ["int8", "uint8", "float32"])
def test_what_tensorflow_quantises_after_training(tmp_path, given):
    tf = pytest.importorskip("tensorflow")
    kernel = RANDOM.normal(0, 0.3, (3, 3, 3, 16)).astype(np.float32)
    dense = RANDOM.normal(0, 0.3, (16, 5)).astype(np.float32)
    bias = RANDOM.normal(0, 0.1, 16).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])
    def network(x):
        x = tf.nn.relu6(tf.nn.conv2d(x, kernel, 2, "SAME") + bias)
        x = x * tf.nn.relu6(x + 3) * np.float32(1 / 6)
        return tf.nn.softmax(tf.matmul(tf.reduce_mean(x, (1, 2)), dense))

    x = images(20)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(given)
    (tmp_path / "x.tflite").write_bytes(converter.convert())
    source = TFLiteSource(tmp_path / "x.tflite")
    taps = {"out": source.graph.outputs[0]}
    exact = np.concatenate([network(image[None]).numpy() for image in x])
    in_float = LiteRTJudge(source, in_float=True).run(x, taps).taps["out"]
    as_is = LiteRTJudge(source).run(x, taps).taps["out"]
    assert np.abs(in_float - exact).max() < 0.01
    assert 0 < np.abs(as_is - in_float).max() < 0.03
