"""What quantised, packed and sparse constants are read as, and damaged sparse ones."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from parity_tests.building.tflite_files import TFLiteBuilder, sparsity
from porting.errors import BadSource, UnsupportedSource
from porting.sources.tflite import TFLiteSource

RANDOM = np.random.default_rng(3)
SPARSE = np.random.default_rng(8)


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
    actual = {name: info.range for name, info in
             opened(file.finish([x], [plain])).activations.items()}  # fmt: skip
    assert actual == {"x": (-1.5, 126.0), "y": (0.0, 63.75), "z": None, "plain": None}


def compressed(matrix, dtype="i4"):
    """A matrix by rows: values, and its sparsity."""
    rows, columns = np.nonzero(matrix)
    segments = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return matrix[rows, columns], sparsity([0, 1], [], len(matrix), (segments, columns, dtype))


def blocked(matrix, side):
    """A matrix by blocks (side, side), the blocks of a row compressed."""
    high, wide = (length // side for length in matrix.shape)
    blocks = matrix.reshape(high, side, wide, side).transpose(0, 2, 1, 3)
    rows, columns = np.nonzero(blocks.any(axis=(2, 3)))
    segments = np.searchsorted(rows, np.arange(high + 1))
    layout = sparsity([0, 1, 2, 3], [0, 1], high, (segments, columns, "u2"), side, side)
    return blocks[rows, columns], layout


def thin(shape, share=0.2, dtype=np.float32):
    kept = SPARSE.random(shape) < share
    return (SPARSE.integers(1, 100, shape) * kept).astype(dtype)


@pytest.mark.parametrize("indices", ["i4", "u2", "u1"])
def test_rows_of_every_index_type(constant, indices):
    matrix = thin((9, 40))
    stored, layout = compressed(matrix, indices)
    source = constant([9, 40], data=stored, sparsity=layout)
    assert source.tensors["w"].stored_as == "sparse float32"
    np.testing.assert_array_equal(source.read("w"), matrix)


@pytest.mark.parametrize("side", [2, 3])
def test_blocks(constant, side):
    matrix = np.kron(thin((4, 5)), np.ones((side, side), np.float32)) * thin(
        (4 * side, 5 * side), 1
    )
    stored, layout = blocked(matrix, side)
    np.testing.assert_array_equal(
        constant(list(matrix.shape), data=stored, sparsity=layout).read("w"), matrix
    )


def test_another_order_of_dimensions(constant):
    """Columns before rows, and every level compressed."""
    matrix = np.array([[0, 5, 0], [7, 0, 0]], np.float32)
    layout = sparsity([1, 0], [], ([0, 2], [0, 1], "u1"), ([0, 1, 2], [1, 0], "u1"))
    stored = np.array([7, 5], np.float32)
    np.testing.assert_array_equal(constant([2, 3], data=stored, sparsity=layout).read("w"), matrix)


def test_a_scale_for_each_row(constant):
    matrix = thin((4, 30), dtype=np.int8)
    stored, layout = compressed(matrix)
    scales = np.array([0.5, 0.25, 2, 1], np.float32)
    source = constant([4, 30], "int8", stored, (scales, np.zeros(4), 0), layout)
    np.testing.assert_array_equal(source.read("w"), matrix * scales[:, None])
    assert source.tensors["w"].dtype == "float32"


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_what_densify_makes_of_it_in_litert(opened, dtype):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    matrix = np.kron(thin((4, 8)), np.ones((4, 4))).astype(dtype)
    stored, layout = blocked(matrix, 4)
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 4])
    file.operator("LOGISTIC", [x], y)
    parameters = ([1.0], [0], 0) if dtype == "int8" else None
    w = file.tensor("w", [16, 32], dtype, stored, parameters, layout)
    dense = file.tensor("dense", [16, 32], dtype, quantisation=parameters)
    file.operator("DENSIFY", [w], dense)
    source = opened(file.finish([x], [y, dense]))
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(source.path), experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    interpreter.invoke()
    np.testing.assert_array_equal(source.read("w"), interpreter.get_tensor(dense))


def test_chains_of_densify_and_dequantize_lead_to_the_constant(opened):
    file = TFLiteBuilder()
    stored, layout = compressed(thin((3, 4), dtype=np.float16))
    w = file.tensor("w", [3, 4], "float16", stored, sparsity=layout)
    dense, real = file.tensor("dense", [3, 4], "float16"), file.tensor("real", [3, 4])
    x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 3])
    file.operator("DENSIFY", [w], dense)
    file.operator("DEQUANTIZE", [dense], real)
    file.operator("FULLY_CONNECTED", [x, real, -1], y, schema.FullyConnectedOptionsT())
    graph = opened(file.finish([x], [y])).graph
    assert graph.dequantised == {"dense": "w", "real": "w"}


STORED = np.arange(1, 4, dtype=np.float32)
SOUND = (2, ([0, 1, 3], [1, 0, 3], "i4"))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (sparsity([0], [], 2), r"1 levels in the order \(0,\) do not fit 2 dimensions"),
        (sparsity([0, 0], [], *SOUND), r"2 levels in the order \(0, 0\) do not fit"),
        (sparsity([0, 5], [], *SOUND), r"in the order \(0, 5\) do not fit"),
        (sparsity([0, 1, 2], [7], *SOUND, 2), r"block map \(7,\) does not fit 2 dimensions"),
        (sparsity([0, 1, 2], [1], *SOUND, 0), r"blocks are of size \{1: 0\}"),
        (sparsity([0, 1, 2], [1], *SOUND, 3), r"blocks \{1: 3\} do not divide its shape \(2, 4\)"),
        (sparsity([0, 1], [], 3, SOUND[1]), "a dense level has 3 indices, its shape 2"),
        (sparsity([0, 1], [], 2, ([0, 3], [1, 0, 3], "i4")), "2 segments for 2 parents"),
        (sparsity([0, 1], [], 2, ([1, 2, 3], [1, 0, 3], "i4")), "do not divide its 3 indices"),
        (sparsity([0, 1], [], 2, ([0, 1, 9], [1, 0, 3], "i4")), "do not divide its 3 indices"),
        (sparsity([0, 1], [], 2, ([0, 4, 3], [1, 0, 3], "i4")), "do not divide its 3 indices"),
        (sparsity([0, 1], [], 2, ([0, 1, 3], [1, 0, 4], "i4")), "the index 4, its shape has 4"),
        (sparsity([0, 1], [], 2, ([0, 1, 3], [1, -1, 3], "i4")), "the index -1, its shape has 4"),
        (sparsity([0, 1], [], 2, ([0, 1, 2], [1, 0], "i4")), "lead to 2 values, it has 3"),
        (sparsity([0, 1], [], 2, 4), "lead to 8 values, it has 3"),
        (
            sparsity([1, 0], [], ([0, 9], [0] * 9, "i4"), 2),
            "lead to more than the 8 values of its shape",
        ),
        (sparsity([0, 1], [], ([0, 0], [], "i4"), ([], [], "i4")), "0 segments for 0 parents"),
    ],
)
def test_levels_that_contradict_shape_or_values(constant, layout, message):
    source = constant([2, 4], data=STORED, sparsity=layout)
    with pytest.raises(BadSource, match=r"model.tflite: sparse tensor 'w' of shape \(2, 4\)") as e:
        source.read("w")
    e.match(message)


def test_values_cut_within_one(constant):
    source = constant([2, 4], data=np.zeros(11, np.uint8), sparsity=sparsity([0, 1], [], *SOUND))
    with pytest.raises(BadSource, match="its 11 bytes are not a whole number of values"):
        source.read("w")


def test_a_claim_of_endless_zeros(constant):
    layout = sparsity([0, 1], [], ([0, 1], [5], "i4"), ([0, 1], [0], "i4"))
    with pytest.raises(BadSource, match=r"'w' claims the shape \(65536, 65536\); a file of .* may"):
        constant([65536, 65536], data=STORED[:1], sparsity=layout)


def test_sparse_and_packed_is_unsupported(constant):
    source = constant([2, 4], "int4", np.zeros(2, np.uint8), sparsity=sparsity([0, 1], [], *SOUND))
    with pytest.raises(UnsupportedSource, match="'w' is sparse int4, which is not read"):
        source.read("w")


@pytest.mark.slow
@pytest.mark.parametrize("stored_as", ["float32", "int8"])
def test_weights_that_tensorflow_stores_sparse(tmp_path, stored_as):
    tf = pytest.importorskip("tensorflow")
    kernel, dense = thin((3, 3, 16, 32), 0.1), thin((32, 64), 0.1)

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 16), tf.float32)])
    def network(x):
        return tf.matmul(tf.reduce_mean(tf.nn.conv2d(x, kernel, 1, "SAME"), (1, 2)), dense)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    if stored_as == "int8":
        converter.optimizations.append(tf.lite.Optimize.DEFAULT)
    (tmp_path / "sparse.tflite").write_bytes(converter.convert())
    source = TFLiteSource(tmp_path / "sparse.tflite")
    actual = [n for n, info in source.tensors.items() if info.stored_as == f"sparse {stored_as}"]
    read = {source.read(name).ndim: source.read(name) for name in actual}
    for axes, expected in ((4, kernel.transpose(3, 0, 1, 2)), (2, dense.T)):
        step = np.abs(expected).max() / 127 if stored_as == "int8" else 0
        np.testing.assert_allclose(read[axes], expected, atol=0.51 * step)
        assert (read[axes] == 0)[expected == 0].all()
