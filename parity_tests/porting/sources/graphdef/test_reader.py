"""Reading graphs: operators, shapes, constants; and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.porting.sources.refusing import refused
from porting.errors import BadSource, UnsupportedSource
from porting.graph.from_source import graph_of_source
from porting.sources import open_source


def kinds(source):
    return [operator.kind for operator in source.graph.operators]


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_a_bias_becomes_a_part_of_its_layer(tf, written):
    kernel, bias, dense = draw(3, 3, 3, 8), draw(8), draw(8, 5)

    def build(x):
        x = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 2, "VALID"), bias)
        x = tf.reduce_mean(tf.nn.relu6(x), [1, 2])
        tf.add(tf.matmul(x, dense), draw(5), name="scores")

    source = open_source(written(build))
    assert kinds(source) == ["CONV_2D", "RELU6", "MEAN", "FULLY_CONNECTED"]
    first, last = source.graph.operators[0], source.graph.operators[-1]
    assert first.outputs == ("BiasAdd",)
    assert (first.weight_axes, last.weight_axes) == ("h w i o", "i o")
    assert (first.options["stride_h"], first.options["padding"]) == (2, "VALID")
    assert source.activations["BiasAdd"].shape == (-1, 15, 15, 8)
    assert source.activations["scores"].shape == (-1, 5)
    for number, values in ((1, kernel), (2, bias)):
        np.testing.assert_array_equal(source.read(first.inputs[number]), values)


def test_a_bias_that_is_taken_twice_is_left_apart(tf, written):
    def build(x):
        x = tf.nn.conv2d(x, draw(1, 1, 3, 4), 1, "SAME")
        tf.multiply(tf.nn.bias_add(x, draw(4)), x)

    assert kinds(open_source(written(build))) == ["CONV_2D", "ADD", "MUL"]


def test_a_number_added_is_no_bias(tf, written):
    """``x + 3`` is the beginning of a hard-swish."""

    def build(x):
        tf.nn.relu6(tf.nn.conv2d(x, draw(1, 1, 3, 4), 1, "SAME") + 3.0)

    assert kinds(open_source(written(build))) == ["CONV_2D", "ADD", "RELU6"]


@pytest.mark.parametrize("scale", [True, False])
def test_a_batch_norm_in_pieces(tf, written, scale):
    beta, mean, variance = draw(4), draw(4) + 1, np.abs(draw(4)) + 0.5
    gamma = draw(4) + 2 if scale else None

    def build(x):
        x = tf.nn.conv2d(x, draw(1, 1, 3, 4), 1, "SAME")
        constants = [None if v is None else tf.constant(v) for v in (mean, variance, beta, gamma)]
        tf.nn.relu(tf.nn.batch_normalization(x, *constants, 0.002))

    source = open_source(written(build))
    assert kinds(source) == ["CONV_2D", "BATCH_NORM", "RELU"]
    norm = source.graph.operators[1]
    assert norm.options["epsilon"] == pytest.approx(0.002)
    for name, values in zip(norm.inputs[1:], (gamma, beta, mean, variance), strict=True):
        if values is None:
            assert name is None
        else:
            np.testing.assert_array_equal(source.read(name), values)


def test_a_scale_and_a_shift_alone(tf, written):
    scale, shift = draw(4), draw(4) + 2

    def build(x):
        x = tf.nn.depthwise_conv2d(x, draw(3, 3, 3, 1), [1, 1, 1, 1], "SAME")
        tf.nn.relu(x * scale[:3] + shift[:3])

    source = open_source(written(build))
    assert kinds(source) == ["DEPTHWISE_CONV_2D", "BATCH_NORM", "RELU"]
    norm = source.graph.operators[1]
    assert norm.inputs[3:] == (None, None)
    np.testing.assert_array_equal(source.read(norm.inputs[1]), scale[:3])


def test_a_clamp_by_the_least_and_the_largest(tf, written):
    source = open_source(written(lambda x: tf.tanh(tf.maximum(tf.minimum(x, 6.0), 0.0))))
    assert kinds(source) == ["MINIMUM", "MAXIMUM", "TANH"]
    nodes = graph_of_source(source, 3).graph.nodes()
    assert [node.kind for node in nodes] == ["input", "relu6", "tanh"]


def test_what_computes_a_shape_is_no_operator(tf, written):
    def build(x):
        x = tf.reduce_mean(x, [1, 2], keepdims=True)
        x = tf.reshape(x, tf.stack([tf.shape(x)[0], 3]))
        tf.reshape(tf.nn.softmax(x), tf.shape(x), name="scores")

    source = open_source(written(build))
    assert kinds(source) == ["MEAN", "RESHAPE", "SOFTMAX", "RESHAPE"]
    assert source.activations["scores"].shape == (-1, 3)


def test_constants_computed_of_constants(tf, written):
    def build(x):
        deviation = tf.sqrt(tf.reshape(tf.constant([4.0, 9.0, 16.0]), [1, 1, 1, 3]))
        tf.divide(x - tf.cast(tf.constant([1, 2, 3]), "float32"), deviation)

    source = open_source(written(build))
    assert kinds(source) == ["SUB", "DIV"]
    np.testing.assert_array_equal(source.read(source.graph.operators[0].inputs[1]), [1, 2, 3])
    divisor = source.read(source.graph.operators[1].inputs[1])
    np.testing.assert_array_equal(divisor, [[[[2, 3, 4]]]])


def test_a_bias_that_is_brought_back_to_its_shape_keeps_its_name(tf, written):
    """Keras reshapes biases to (1, 1, 1, C), and squeezes them again."""

    def build(x):
        bias = tf.reshape(tf.constant(draw(4), name="bias"), [1, 1, 1, 4])
        tf.nn.bias_add(tf.nn.conv2d(x, draw(1, 1, 3, 4), 1, "SAME"), tf.squeeze(bias, [0, 1, 2]))

    source = open_source(written(build))
    assert source.graph.operators[0].inputs[2] == "bias"


@pytest.mark.parametrize("kind", ["float64", "float16", "bfloat16", "int32", "uint8", "int64"])
@pytest.mark.parametrize("values", [[3, 1, 2], [5, 5, 5], 7])
def test_types_and_ways_to_store(tf, written, kind, values):
    def build(x):
        tf.add(x, tf.constant(values, kind))

    source = open_source(written(build, dtype=kind))
    name = source.graph.operators[0].inputs[1]
    actual = source.read(name)
    np.testing.assert_array_equal(actual, values)
    assert str(actual.dtype) == ("float32" if kind == "bfloat16" else kind)
    assert source.tensors[name].stored_as == kind
    assert source.tensors[name].shape == np.shape(values)


@pytest.mark.parametrize("trims", [False, True])
def test_repeated_values_are_stored_once(tf, tmp_path, written, trims):
    """Protobuf's own fields: the last value stands for those that follow."""

    def build(x):
        tf.add(x, tf.constant([1.0, 2.0, 2.0]))

    path = written(build)
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    tensor = next(node for node in graph.node if node.op == "Const").attr["value"].tensor
    tensor.ClearField("tensor_content")
    tensor.float_val.extend([1.0, 2.0] if trims else [1.0, 2.0, 2.0])
    path.write_bytes(graph.SerializeToString())
    source = open_source(path)
    np.testing.assert_array_equal(source.read(source.graph.operators[0].inputs[1]), [1, 2, 2])


def test_sides_that_are_left_open(tf, written):
    def build(x):
        tf.nn.relu(tf.nn.conv2d(x, draw(3, 3, 3, 4), 2, "SAME"), "scores")

    source = open_source(written(build, shape=(None, None, None, 3)))
    assert source.activations["input"].shape == (1, 1, 1, 3)
    assert source.activations["scores"].shape == (-1, -1, -1, 4)


def test_variables_are_not_in_a_frozen_graph(tf, written):
    def build(x):
        tf.add(x, tf.compat.v1.get_variable("offset", (3,), use_resource=False))

    path = written(build)
    refused(path, UnsupportedSource, "variable 'offset' has no values.*not frozen. Give the check")


def test_channels_first(tf, written):
    def build(x):
        tf.nn.conv2d(x, draw(3, 3, 32, 4), 2, "SAME", data_format="NCHW")

    path = written(build)
    refused(path, UnsupportedSource, "Conv2D 'Conv2D' computes in NCHW; only NHWC is read")


def test_a_batch_norm_of_training(tf, written):
    def build(x):
        norm = tf.compat.v1.nn.fused_batch_norm(x, draw(3), draw(3), is_training=True)[0]
        tf.nn.relu(norm)

    refused(written(build), UnsupportedSource, "normalises by the batch .is_training.; export")


def test_a_padding_listed_by_the_convolution(tf, written):
    def build(x):
        tf.nn.conv2d(x, draw(3, 3, 3, 4), 2, [[0, 0], [1, 1], [1, 1], [0, 0]])

    refused(written(build), UnsupportedSource, "pads by a list of its own")


def test_two_inputs(tf, written):
    def build(x):
        tf.add(x, tf.compat.v1.placeholder("float32", (None, 32, 32, 3), "other"))

    refused(written(build), UnsupportedSource, "2 inputs lead to the output 'Add': input, other")


def test_a_switch_beside_the_images(tf, written):
    def build(x):
        off = tf.compat.v1.placeholder("bool", (), "is_training")
        tf.add(x, tf.cast(off, "float32"))

    assert open_source(written(build)).graph.inputs == ("input",)


def test_no_images(tf, written):
    path = written(lambda x: x + 1.0, shape=(None, 10))
    refused(path, UnsupportedSource, "no placeholder of images")


def test_a_graph_as_text(tf, written):
    path = written(lambda x: x + 1.0, "graph.pbtxt")
    path.write_text(str(tf.compat.v1.GraphDef.FromString(path.read_bytes())))
    refused(path, BadSource, r"a graph as text \(.pbtxt\)")


def test_an_unknown_operation_keeps_its_name(tf, written):
    source = open_source(written(lambda x: tf.nn.elu(x * 2.0)))
    assert kinds(source) == ["MUL", "Elu"]


@pytest.mark.parametrize("kind", ["quint8", "qint8"])
@pytest.mark.parametrize("mode", ["MIN_COMBINED", "MIN_FIRST"])
def test_weights_of_the_graph_transform_tool(tf, written, kind, mode):
    """``quantize_weights`` stores them as integers, with the ends of their range."""
    ends = np.float32(-0.731), np.float32(1.243)
    limits = (0, 256) if kind == "quint8" else (-128, 128)
    values = np.arange(*limits).repeat(3).reshape(4, 4, 3, 16)

    def build(image):
        weights = tf.constant(values, getattr(tf, kind))
        kernel = tf.raw_ops.Dequantize(
            input=weights, min_range=ends[0], max_range=ends[1], mode=mode, name="kernel"
        )
        tf.reduce_mean(tf.nn.conv2d(image, kernel, 2, "SAME"), [1, 2])

    path = written(build)
    eager = tf.constant(values, getattr(tf, kind))
    expected = tf.raw_ops.Dequantize(
        input=eager, min_range=ends[0], max_range=ends[1], mode=mode
    ).numpy()
    read = open_source(path).read("kernel")
    np.testing.assert_allclose(read, expected, rtol=0, atol=1.2e-7)


def test_one_image_that_the_graph_decodes(tf, written):
    """TensorFlow 1 feeds the bytes of a file; the network takes the resized pixels."""
    from porting.judges.graph import GraphJudge

    kernel = draw(3, 3, 3, 5)

    def build(_):
        file = tf.compat.v1.placeholder(tf.string, (), "DecodeJpeg/contents")
        pixels = tf.cast(tf.image.decode_jpeg(file, channels=3), tf.float32)
        image = tf.compat.v1.image.resize_bilinear(tf.expand_dims(pixels, 0), [8, 8])
        tf.reduce_mean(tf.nn.conv2d((image - 128) / 128, kernel, 1, "SAME"), [1, 2])

    source = open_source(written(build))
    assert source.decodes_images
    assert source.activations[source.graph.inputs[0]].shape == (1, 8, 8, 3)
    assert kinds(source) == ["SUB", "DIV", "CONV_2D", "MEAN"]
    pixels = np.random.default_rng(3).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    run = GraphJudge(source).run(pixels, {"scores": source.graph.outputs[0]})
    expected = tf.reduce_mean(tf.nn.conv2d((pixels - 128) / 128, kernel, 1, "SAME"), [1, 2])
    np.testing.assert_allclose(run.taps["scores"], expected, rtol=1e-4, atol=1e-5)


def test_operations_on_integers_are_named(tf, written):
    def build(image):
        values, least, most = tf.quantization.quantize(image, -1.0, 1.0, tf.quint8, "MIN_FIRST")
        real = tf.raw_ops.Dequantize(input=values, min_range=least, max_range=most)
        tf.reduce_mean(real, [1, 2])

    refused(
        written(build), UnsupportedSource, "QuantizeV2 .* computes with integers.* frozen graph"
    )
