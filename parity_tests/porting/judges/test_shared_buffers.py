"""Constants that share one buffer, because their bytes are equal, but differ in meaning."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from parity_tests.building.mutations import packed
from parity_tests.building.quantised_files import QuantisedFile
from parity_tests.building.tflite_files import TFLiteBuilder, mean_options, sparsity
from porting.judges.litert import LiteRTJudge
from porting.judges.tflite_rewriting import dequantise
from porting.sources.tflite import TFLiteSource

RANDOM = np.random.default_rng(8)
BYTES = bytes([3, 127, 200, 9, 64, 0, 255, 2, 17, 128, 65, 80, 1, 66, 33, 60])
"""What all tensors of :data:`SHARERS` are stored as: 16 bytes, or the first of them."""


def along(scales, zeros=0):
    """Quantisation along the last of two axes."""
    return np.array(scales, np.float32), np.full(len(scales), zeros), 1


ROW = (np.array([0.5], np.float32), np.array([0]), 0)
SHARERS = {
    "per tensor": ("int8", [4, 4], ROW),
    "another scale": ("int8", [4, 4], (np.array([0.25], np.float32), np.array([0]), 0)),
    "another zero": ("int8", [4, 4], (np.array([0.5], np.float32), np.array([-3]), 0)),
    "per channel": ("int8", [4, 4], along([1, 2, 3, 4])),
    "no sign": ("uint8", [4, 4], (np.array([0.5], np.float32), np.array([128]), 0)),
    "wide": ("int16", [8], ROW),
    "bias": ("int32", [4], ROW),
    "nibbles": ("int4", [4, 8], along([1, 2, 3, 4, 5, 6, 7, 8])),
    "half": ("float16", [8], None),
    "bfloat": ("bfloat16", [8], None),
    "numbers": ("int32", [4], None),
    "reals": ("float32", [4], None),
    "equal to the first": ("int8", [4, 4], ROW),
}
"""Name -> type, shape, quantisation: each stands for something else than the first."""


def expected_of(name):
    """What NumPy alone makes of a sharer's bytes."""
    kind, shape, quantisation = SHARERS[name]
    if kind == "int4":
        pairs = np.frombuffer(BYTES, np.uint8)
        # Low bits first, in two's complement.
        stored = np.stack([pairs & 15, pairs >> 4], -1).ravel().astype(np.int64)
        stored = np.where(stored > 7, stored - 16, stored)
    elif kind == "bfloat16":
        stored = (np.frombuffer(BYTES, "<u2").astype("<u4") << 16).view("<f4")
    else:
        stored = np.frombuffer(BYTES, kind)
    stored = stored.reshape(shape)
    if quantisation is None:
        return stored if kind == "int32" else stored.astype(np.float32)
    scale, zero, _ = quantisation
    return ((stored.astype(np.float64) - zero) * scale.astype(np.float64)).astype(np.float32)


def sharing_file(names):
    """A file in which tensors of these names have one buffer; it adds 1 to what it is given."""
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 4])
    one = file.tensor("one", [1], data=np.ones(1, np.float32))
    stored = np.frombuffer(BYTES, np.uint8)
    first = file.tensor("shared", [16], "uint8", stored)
    for name in names:
        kind, shape, quantisation = SHARERS[name]
        number = file.tensor(name, shape, kind, quantisation=quantisation)
        file.graph.tensors[number].buffer = file.graph.tensors[first].buffer
    file.operator("ADD", [x, one], y, schema.AddOptionsT())
    return file.finish([x], [y])


def constants(content):
    """What LiteRT has of each tensor before it runs anything, by name."""
    # XNNPACK does not expose some of them.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    details = {d["name"]: d["index"] for d in interpreter.get_tensor_details()}
    return {
        name: interpreter.get_tensor(number)
        for name, number in details.items()
        if name not in ("x", "y")
    }


def buffers_of(content):
    """Number of the buffer of each tensor, by name, and how many there are."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    tensors = model.subgraphs[0].tensors
    return {tensor.name.decode(): tensor.buffer for tensor in tensors}, len(model.buffers)


def test_every_kind_of_constant_beside_every_other(tmp_path, written):
    content = sharing_file(SHARERS)
    changed = dequantise(content, tmp_path / "x")
    held = constants(changed)
    for name in SHARERS:
        expected = expected_of(name)
        assert held[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(held[name], expected, err_msg=name)
    numbers, count = buffers_of(changed)
    # "shared", "numbers" and "reals" are the bytes' readings; two of them are equal.
    assert numbers["equal to the first"] == numbers["per tensor"]
    assert numbers["numbers"] == numbers["reals"] == numbers["shared"]
    assert count == buffers_of(content)[1] + len(SHARERS) - 3
    assert set(numbers.values()) == set(range(count))
    # The source reader is not affected: it reads tensor by tensor.
    source = written(content)
    for name in SHARERS:
        np.testing.assert_array_equal(source.read(name), expected_of(name), err_msg=name)


@pytest.mark.parametrize("seed", range(12))
def test_any_of_them_in_any_order(tmp_path, seed):
    random = np.random.default_rng(seed)
    names = random.permutation(list(SHARERS))[: random.integers(2, len(SHARERS) + 1)]
    changed = dequantise(sharing_file(list(names)), tmp_path / "x")
    held = constants(changed)
    for name in names:
        np.testing.assert_array_equal(held[name], expected_of(name), err_msg=name)
    np.testing.assert_array_equal(held["shared"], np.frombuffer(BYTES, np.uint8))
    interpreter = Interpreter(model_content=changed)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.arange(4, dtype=np.float32)[None])
    interpreter.invoke()
    assert interpreter.get_tensor(1).tolist() == [[1, 2, 3, 4]]


def test_scalars_that_quantise_to_the_same_byte(written):
    """Keras's preprocessing as TensorFlow 2.21 quantises it: x / 127.5 - 1."""
    file = TFLiteBuilder()
    x = file.tensor("x", [1, 2, 2, 3], "int8", quantisation=([1.0], [-128], 0))
    scaled = file.tensor("scaled", [1, 2, 2, 3], "int8", quantisation=([2 / 255], [-128], 0))
    moved = file.tensor("moved", [1, 2, 2, 3], "int8", quantisation=([2 / 255], [0], 0))
    byte = np.array(127, np.int8)
    factor = file.tensor("factor", [], "int8", byte, ([1 / 127.5 / 127], [0], 0))
    one = file.tensor("one", [], "int8", quantisation=([1 / 127], [0], 0))
    file.graph.tensors[one].buffer = file.graph.tensors[factor].buffer
    file.operator("MUL", [x, factor], scaled, schema.MulOptionsT())
    file.operator("SUB", [scaled, one], moved, schema.SubOptionsT())
    source = written(file.finish([x], [moved]))
    assert source.read("factor") == pytest.approx(1 / 127.5)
    assert source.read("one") == pytest.approx(1)
    pixels = RANDOM.integers(0, 256, (3, 2, 2, 3)).astype(np.float32)
    taps = {"moved": "moved"}
    in_float = LiteRTJudge(source, in_float=True).run(pixels, taps).taps["moved"]
    np.testing.assert_allclose(in_float, pixels / 127.5 - 1, atol=1e-6)
    as_is = LiteRTJudge(source).run(pixels, taps).taps["moved"]
    assert 0 < np.abs(as_is - in_float).max() < 0.02


def test_biases_that_share_their_bytes_compute_what_the_float_file_computes(written):
    file = QuantisedFile("int8", "relu6", named=True)
    models = [schema.ModelT.InitFromPackedBuf(file.build(w), 0) for w in (True, False)]
    integers, reals = ({t.name: t for t in model.subgraphs[0].tensors} for model in models)
    integers[b"deep/b"].buffer = integers[b"conv/b"].buffer
    stored = models[0].buffers[integers[b"conv/b"].buffer].data.view(np.int32)
    real = (stored * integers[b"deep/b"].quantization.scale.astype(np.float64)).astype(np.float32)
    assert np.abs(real).max() > 0
    models[1].buffers[reals[b"deep/b"].buffer].data = real.view(np.uint8)
    x = RANDOM.uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
    taps = {name: name for name in ("conv", "deep", "sum", "dense")}
    actual = LiteRTJudge(written(packed(models[0])), in_float=True).run(x, taps)
    expected = LiteRTJudge(written(packed(models[1]), "float.tflite")).run(x, taps)
    for tap in taps:
        np.testing.assert_array_equal(actual.taps[tap], expected.taps[tap], err_msg=tap)


def test_zeros_are_shared_on(tmp_path):
    """Biases of 0 stand for the same whatever their scales."""
    model = schema.ModelT.InitFromPackedBuf(QuantisedFile("uint8").build(), 0)
    biases = [t for t in model.subgraphs[0].tensors if t.name in (b"conv/b", b"deep/b")]
    model.buffers[biases[0].buffer].data = np.zeros(32, np.uint8)
    biases[1].buffer = biases[0].buffer
    changed = dequantise(packed(model), tmp_path / "x")
    numbers, count = buffers_of(changed)
    assert numbers["conv/b"] == numbers["deep/b"]
    assert count == len(model.buffers)
    assert not constants(changed)["deep/b"].any()


def test_sparse_weights_that_share_with_dense_ones(tmp_path):
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 4])
    three = np.array([3, -5, 1], np.float32)
    dense = file.tensor("dense", [3], data=three)
    layout = sparsity([0, 1], [], 2, ([0, 1, 3], [2, 0, 3], "u1"))
    sparse = file.tensor("sparse", [2, 4], sparsity=layout)
    file.graph.tensors[sparse].buffer = file.graph.tensors[dense].buffer
    one = file.tensor("one", [1], data=np.ones(1, np.float32))
    file.operator("ADD", [x, one], y, schema.AddOptionsT())
    held = constants(dequantise(file.finish([x], [y]), tmp_path / "x"))
    assert held["dense"].tolist() == [3, -5, 1]
    assert held["sparse"].tolist() == [[0, 0, 3, 0], [-5, 0, 0, 1]]


def test_two_numbers_for_one_buffer_table(tmp_path):
    """Writers may let two entries of the list of buffers lead to the same table."""
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 4])
    stored = np.array([1, 2], np.int8)
    file.tensor("halves", [2], "int8", stored, ([0.5], [0], 0))
    file.tensor("tenths", [2], "int8", stored, ([0.125], [0], 0))
    one = file.tensor("one", [1], data=np.ones(1, np.float32))
    file.operator("ADD", [x, one], y, schema.AddOptionsT())
    content = bytearray(file.finish([x], [y]))
    model = schema.Model.GetRootAs(content, 0)
    entries = model._tab.Vector(model._tab.Offset(12))
    first = struct.unpack_from("<I", content, entries + 4)[0]
    struct.pack_into("<I", content, entries + 8, first - 4)
    held = constants(dequantise(bytes(content), tmp_path / "x"))
    assert held["halves"].tolist() == [0.5, 1]
    assert held["tenths"].tolist() == [0.125, 0.25]


def test_tensors_that_name_no_buffer_have_no_values_whatever_buffer_0_holds(tmp_path, written):
    """LiteRT takes none from it, and no field of such a tensor could name another."""
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 2], "int8", quantisation=([1.0], [0], 0)), file.tensor("y", [1, 2])
    file.model.buffers[0].data = np.array([5, 6], np.uint8)
    file.operator("DEQUANTIZE", [x], y, schema.DequantizeOptionsT())
    content = file.finish([x], [y])
    source = written(content)
    assert list(source.tensors) == []
    assert list(source.activations) == ["x", "y"]
    given = np.array([[[[3, 4]]]], np.float32).reshape(1, 2)
    changed = written(dequantise(content, tmp_path / "x"), "changed.tflite")
    for judged in (source, changed):
        assert LiteRTJudge(judged).run(given, {"y": "y"}).taps["y"].tolist() == [[3, 4]]


def test_plain_numbers_behind_the_model_stay_where_they_are(written):
    """As in files over 2 GB; the others' buffers get another list."""
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 2, 2, 3]), file.tensor("y", [1, 3])
    total = file.tensor("sum", [1, 2, 2, 3])
    axes = file.tensor("axes", [2], "int32", np.array([0, 0], np.int32))
    half = file.tensor("half", [3], "float16", np.array([1, 2, 3], np.float16))
    real = file.tensor("real", [3])
    integers = file.tensor("integers", [6], "int8", quantisation=([1.0], [0], 0))
    file.graph.tensors[integers].buffer = file.graph.tensors[half].buffer
    file.operator("DEQUANTIZE", [half], real, schema.DequantizeOptionsT())
    file.operator("ADD", [x, real], total, schema.AddOptionsT())
    file.operator("MEAN", [total, axes], y, mean_options(False))
    behind = schema.BufferT(offset=1 << 20, size=8)
    file.model.buffers[file.graph.tensors[axes].buffer] = behind
    behind.offset = -(-len(file.finish([x], [y])) // 16) * 16
    content = file.finish([x], [y]).ljust(behind.offset, b"\0")
    source = written(content + np.array([1, 2], np.int32).tobytes())
    given = RANDOM.uniform(0, 1, (1, 2, 2, 3)).astype(np.float32)
    expected = given.mean((1, 2)) + np.array([1, 2, 3])
    for in_float in (False, True):
        actual = LiteRTJudge(source, in_float).run(given, {"y": "y"}).taps["y"]
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_metadata_keep_their_buffer(tmp_path):
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 4], "int8", quantisation=([1.0], [0], 0)), file.tensor("y", [1, 4])
    stored = np.array([1, 2], np.int8)
    file.tensor("a", [2], "int8", stored, ([0.5], [0], 0))
    other = file.tensor("b", [2], "int8", quantisation=([0.125], [0], 0))
    file.graph.tensors[other].buffer = 1
    file.metadata("note", b"what was said")
    file.operator("DEQUANTIZE", [x], y, schema.DequantizeOptionsT())
    changed = dequantise(file.finish([x], [y]), tmp_path / "x")
    model = schema.ModelT.InitFromPackedBuf(changed, 0)
    noted = model.buffers[model.metadata[0].buffer].data
    assert bytes(noted) == b"what was said"
    assert buffers_of(changed)[0]["b"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("given", ["uint8", "int8", "float32"])
def test_a_network_that_tensorflow_quantises_with_its_preprocessing(tmp_path, given):
    tf = pytest.importorskip("tensorflow")
    import keras

    import porting
    from parity_tests.building.keras_models import build
    from porting.judges.keras import Application

    network = build(Application("MobileNetV2", 0.35, classes=7, size=96))
    image = keras.Input((96, 96, 3), batch_size=1)
    network = keras.Model(image, network(keras.applications.mobilenet_v2.preprocess_input(image)))
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    pixels = RANDOM.uniform(0, 255, (20, 1, 96, 96, 3)).astype(np.float32)
    converter.representative_dataset = lambda: ([each] for each in pixels)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(given)
    path = tmp_path / "x.tflite"
    path.write_bytes(converter.convert())
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    stored = [t.buffer for t in model.subgraphs[0].tensors if t.buffer]
    stored = [number for number in stored if model.buffers[number].data is not None]
    if len(set(stored)) == len(stored):
        pytest.skip("this version of TensorFlow keeps equal bytes apart")
    source = TFLiteSource(path)
    port = porting.port(source)
    assert port.comparison, port.comparison.summary()
    assert port.convention.mean == pytest.approx([127.5] * 3, rel=1e-3)
    assert port.convention.std == pytest.approx([127.5] * 3, rel=1e-3)
